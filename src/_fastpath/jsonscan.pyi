"""What a JSON decoder does not tell: duplicate keys, invalid UTF-8 and depth, and where top-level values stand."""

class ScanError(ValueError):
    """The body is not one acceptable JSON object.

    `kind` is one of "syntax", "utf8", "depth", "duplicate", "not_object", "too_many" (more than 1,000 top-level keys, or
    100,000 containers, or 4 MiB of what is no string), "disguised" (a top-level key that governs a
    request, but for the case of its letters); `offset` the byte at which it was seen; `key` the duplicate or disguised
    key (decoded; lone surrogates become U+FFFD), else None.
    """

    kind: str
    offset: int
    key: str | None
    def __init__(self, kind: str, offset: int, key: str | None = None) -> None: ...

def scan(
    body: bytes, keys: tuple[bytes, ...] = (), max_depth: int = 100, max_containers: int = 100000
) -> tuple[int, ...]:
    """Checks `body` and locates the values of the top-level `keys` (UTF-8, compared after resolving escapes).

    Returns (start, end) offsets, flat, one pair a key in the order of `keys`, (-1, -1) where it is absent; then, last,
    the offset of the object's closing brace. `body[start:end]` is the value without surrounding white space.

    At most `max_containers` objects and lists (up to 100,000) stand in it: each becomes an object where the body is decoded.

    Every byte is checked to be valid UTF-8 and every container to be balanced and at most `max_depth` deep (1 to 1,024;
    the object itself is one deep); strings are delimited and hold no control bytes; the top level is one object of at
    most 1,000 keys, which differ after resolving escapes, followed by white space only. A byte order mark is a fault of
    syntax. Numbers, literals and escapes inside values, and the commas and colons of nested values, are left to the
    decoder that follows (RFC 8259).

    Raises:
        ScanError
        ValueError: `max_depth` or `max_containers` is out of bounds.
    """
