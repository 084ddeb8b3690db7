"""Sockets that know nothing of language models: the edge, and pools of connections to providers."""
