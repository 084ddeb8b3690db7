"""What single kernels cost, each beside libraries that do the same, in the same run. `python -m bench.kernels.tokens`, for one."""
