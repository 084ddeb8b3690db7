"""SipHash-2-4 with a 128-bit result (Aumasson and Bernstein, 2012), for tables that must not tell what they hold."""

from typing import final

@final
class Digester:
    """Digests under one key.

    Args:
        key: 16 bytes, random and secret.

    Raises:
        ValueError: the key has another length.
    """

    def __init__(self, key: bytes) -> None: ...
    def digest(self, data: bytes) -> bytes:
        """16 bytes."""
