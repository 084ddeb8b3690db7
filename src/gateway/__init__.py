"""Throughway: a throughput-focused LLM gateway. ARCHITECTURE.md says where everything is."""

__version__ = "0.1.0"
