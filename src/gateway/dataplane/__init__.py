"""The data plane: the order of the phases, and the processes that run them."""
