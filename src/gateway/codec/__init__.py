"""Dialects and their shapes, sans-IO: bytes in, values or bytes out."""
