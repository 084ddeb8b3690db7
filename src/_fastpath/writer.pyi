"""Bytes made piece by piece: header lines, records; and the ids of requests."""

from typing import final

@final
class Writer:
    """A buffer that is used again and again. Each of its methods but `take` returns it."""

    def begin(self) -> Writer:
        """Forgets what was written and not taken, since something raised."""

    def raw(self, piece: bytes, start: int = 0) -> Writer:
        """`piece` from `start` on."""

    def text(self, piece: str) -> Writer:
        """In UTF-8, as it is. A lone surrogate becomes `?`."""

    def json(self, piece: str) -> Writer:
        """As a JSON string with its quotes (RFC 8259, section 7), in UTF-8. A lone surrogate becomes `?`."""

    def number(self, value: int) -> Writer:
        """In decimal. OverflowError beyond 64 bits."""

    def usd(self, nano_usd: int) -> Writer:
        """nano-USD as decimal dollars, exactly: 1500000 is "0.0015". ValueError for a negative amount."""

    def utc(self, unix_ms: int) -> Writer:
        """Milliseconds since 1970 as ISO 8601 in UTC: "2026-03-01T12:00:00.123Z". ValueError outside the years 1970 to 9999."""

    def take(self) -> bytes:
        """All that was written; the buffer is empty then."""

@final
class Ids:
    """A prefix and a number of eight hexadecimal digits, from 1 on; after 2**32 of them they come again.

    Args:
        prefix: ASCII, at most 64 bytes.
    """

    def __init__(self, prefix: bytes) -> None: ...
    def next(self) -> str: ...
