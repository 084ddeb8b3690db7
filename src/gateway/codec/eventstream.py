"""Amazon's event streams (`application/vnd.amazon.eventstream`): binary frames, each with its checksums.

    total length (4) | length of the headers (4) | CRC-32 of these (4) | headers | payload | CRC-32 of all before it (4)

Numbers are big-endian, lengths in bytes. A header is the length of its name (1), the name, the type of its value (1), and the value: nothing
(types 0 and 1), 1, 2, 4, 8 or 16 bytes (2 to 5, 8 and 9), or a length (2) and so many bytes (6 and 7, the latter UTF-8).

`:message-type` says what a frame is: an `event` by its `:event-type`, an `exception` by its `:exception-type`, or an `error` of the
transport, with `:error-code` and `:error-message` and no payload.

Source: Smithy 2.0, "Amazon Event Stream"; `botocore.eventstream`, whose bound of the headers is taken over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from zlib import crc32

from gateway.base.dialect import AnswerError

MAX_HEADERS_BYTES = 131_072
"""Of one frame."""

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_LEAST_BYTES = _PRELUDE.size + _CHECKSUM.size
_VALUE_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""By the type of a value, but for bytes and texts, which have a length of their own."""
_SIZED = (6, 7)
_CACHED_HEADERS = 64
_CACHED_HEADERS_BYTES = 512
"""Of one frame: the headers of a stream are few, and come again with each event."""


class Frames:
    """The events of one stream; see `gateway.base.dialect.StreamEvents`.

    An event's name is its type; that of an exception is `exception:` and its type, that of an error `error:` and its code, with its message for
    data.

    Args:
        max_bytes: bound of one frame, which is held until it is whole.
    """

    passed = b""
    """No caller is sent frames."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._held = bytearray()
        """The beginning of a frame."""
        self._needed = _PRELUDE.size
        """Bytes with which more of it can be told than now."""

    def follow(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        held = self._held
        if held:
            held += data
            if len(held) < self._needed:
                return
            data = bytes(held)
            held.clear()
        at, size = 0, len(data)
        while True:
            if size - at < _PRELUDE.size:
                self._needed = _PRELUDE.size
                break
            total, headers = self._prelude(data, at)
            if size - at < total:
                self._needed = total
                break
            end = at + total
            if (
                crc32(memoryview(data)[at : end - _CHECKSUM.size])
                != _CHECKSUM.unpack_from(data, end - _CHECKSUM.size)[0]
            ):
                raise AnswerError("a frame of the stream does not fit its checksum")
            begin = at + _PRELUDE.size
            name, message = name_of(data[begin : begin + headers])
            at = end
            yield name, message or data[begin + headers : end - _CHECKSUM.size]
        held += data[at:]

    def finish(self) -> bytes:
        return b""

    def _prelude(self, data: bytes, at: int) -> tuple[int, int]:
        """(bytes of the frame, bytes of its headers)"""
        total: int
        headers: int
        total, headers, checksum = _PRELUDE.unpack_from(data, at)
        if crc32(memoryview(data)[at : at + 8]) != checksum:
            raise AnswerError("the lengths of a frame of the stream do not fit their checksum")
        if headers > MAX_HEADERS_BYTES or headers + _LEAST_BYTES > total:
            raise AnswerError(f"a frame of {total:,} bytes says that it has {headers:,} of headers")
        if total > self._max:
            raise AnswerError(f"a frame is longer than {self._max:,} bytes")
        return total, headers


def name_of(headers: bytes) -> tuple[bytes, bytes]:
    """(the name of a frame's event, the message of an error); raises AnswerError."""
    return _known_name(headers) if len(headers) <= _CACHED_HEADERS_BYTES else _name(headers)


def _name(headers: bytes) -> tuple[bytes, bytes]:
    found = read_headers(headers)
    kind = found.get(b":message-type", b"event")
    if kind == b"event":
        return found.get(b":event-type", b""), b""
    if kind == b"exception":
        return b"exception:" + found.get(b":exception-type", b""), b""
    return b"error:" + found.get(b":error-code", b""), found.get(b":error-message", b"")


_known_name = lru_cache(maxsize=_CACHED_HEADERS)(_name)


def read_headers(data: bytes) -> dict[bytes, bytes]:
    """The values as they stand, without their types and lengths, by name.

    Raises:
        AnswerError: cut, of an unknown type, or a name that stands twice.
    """
    found: dict[bytes, bytes] = {}
    at, size = 0, len(data)
    while at < size:
        begin = at + 1
        at = begin + data[at]
        if at >= size:
            raise AnswerError("the headers of a frame end amid a name")
        name, kind = data[begin:at], data[at]
        at += 1
        if kind in _SIZED:
            length = int.from_bytes(data[at : at + 2], "big")
            at += 2
        elif kind in _VALUE_BYTES:
            length = _VALUE_BYTES[kind]
        else:
            raise AnswerError(f"a header of a frame is of the unknown type {kind}")
        if at + length > size:
            raise AnswerError("the headers of a frame end amid a value")
        if name in found:
            raise AnswerError("a header of a frame stands twice")
        found[name] = data[at : at + length]
        at += length
    return found
