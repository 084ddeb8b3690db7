"""The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): who it is that a load balancer speaks for.

Theory. The header stands once, before the first byte of anything else, TLS included. It is cheap to forge, so whoever reads
it must know that the peer may send it; and it is trusted blindly afterwards, so it is read strictly: one spelling of each
address, nothing optional, no bytes that nobody has looked at.

Rules.
- `read` takes what has come so far and never looks behind the header.
- A version 1 line has at most 107 bytes; a version 2 header at most MAX_V2_BYTES, well below the 64 KiB that its length could say.
- A checksum, where one is sent, must fit.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from gateway.base.addresses import packed, shown

SIGNATURE_V1 = b"PROXY "
SIGNATURE_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_V1_BYTES = 107
MAX_V2_BYTES = 4_096

_FIXED_BYTES = 16
"""Of version 2: signature, command, family, length."""
_ADDRESS_BYTES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
"""By family and transport: not told, TCP over IPv4, over IPv6, a Unix stream socket."""
_LOCAL, _PROXY = 0x20, 0x21
_CRC32C = 0x03
_LINE_END = "its line holds a CR or LF that is not its end"
_PORT = re.compile(rb"(?:0|[1-9][0-9]{0,4})\Z")
_TCP4 = re.compile(rb"[0-9.]{7,15}\Z")
_TCP6 = re.compile(rb"(?=[^:]*:)[0-9A-Fa-f:.]{2,45}\Z")


class ProxyProtocolError(ValueError):
    """The bytes are no PROXY header. The message says what is wrong and repeats none of them."""


class Header(NamedTuple):
    """A header that was read."""

    size: int
    """Its bytes; what stands behind them is the caller's."""
    client: str | None
    """The caller's address; None where the proxy speaks for itself or does not know."""


def may_begin(data: bytes) -> bool:
    """Whether the bytes begin with a header's signature, whole."""
    return data.startswith((SIGNATURE_V1, SIGNATURE_V2))


def read(data: bytes) -> Header | None:
    """The header that `data` begins with; None where more bytes are needed.

    Raises:
        ProxyProtocolError: it begins with none, or with a malformed one.
    """
    if data.startswith(SIGNATURE_V1):
        return _read_v1(data)
    if data.startswith(SIGNATURE_V2):
        return _read_v2(data)
    if SIGNATURE_V1.startswith(data) or SIGNATURE_V2.startswith(data):
        return None
    raise ProxyProtocolError("the connection does not begin with a PROXY header")


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, MAX_V1_BYTES)
    if end < 0:
        if len(data) >= MAX_V1_BYTES:
            raise ProxyProtocolError(f"its line is longer than {MAX_V1_BYTES} bytes")
        if b"\n" in data or b"\r" in data[:-1]:
            raise ProxyProtocolError(_LINE_END)
        return None
    line = data[len(SIGNATURE_V1) : end]
    if b"\r" in line or b"\n" in line:
        raise ProxyProtocolError(_LINE_END)
    words = line.split(b" ")
    if words[0] == b"UNKNOWN":  # what follows is to be ignored
        return Header(end + 2, None)
    spelling = {b"TCP4": _TCP4, b"TCP6": _TCP6}.get(words[0])
    if spelling is None:
        raise ProxyProtocolError("it names another transport than TCP4, TCP6 and UNKNOWN")
    if len(words) != 5:
        raise ProxyProtocolError("it does not have two addresses and two ports, each behind one space")
    client, _ = (_address(word, spelling, words[0]) for word in words[1:3])
    if not all(_PORT.match(word) and int(word) <= 65_535 for word in words[3:]):
        raise ProxyProtocolError("a port is not a number from 0 to 65535")
    return Header(end + 2, client)


def _address(word: bytes, spelling: re.Pattern[bytes], transport: bytes) -> str:
    try:
        if not spelling.match(word):
            raise ValueError
        return shown(packed(word.decode("ascii")))
    except ValueError:
        raise ProxyProtocolError(f"an address is none of {transport.decode()}") from None


def _read_v2(data: bytes) -> Header | None:
    if len(data) < _FIXED_BYTES:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE_V2))
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError("its version is not 2, or its command neither LOCAL nor PROXY")
    size = _FIXED_BYTES + length
    if size > MAX_V2_BYTES:
        raise ProxyProtocolError(f"it says that it has {size} bytes; {MAX_V2_BYTES} are taken")
    if command == _LOCAL:
        return Header(size, None) if len(data) >= size else None
    addresses = _ADDRESS_BYTES.get(family)
    if addresses is None:
        raise ProxyProtocolError("its family or transport is none of a TCP or Unix stream connection")
    if length < addresses:
        raise ProxyProtocolError("it is shorter than the addresses of its family")
    if len(data) < size:
        return None
    if family != 0x00:  # where it is not told, what follows need not be fields
        _check_fields(data[:size], _FIXED_BYTES + addresses)
    client = {0x11: data[16:20], 0x21: data[16:32]}.get(family)
    return Header(size, _plain(client) if client is not None else None)


def _plain(address: bytes) -> str:
    return shown(packed(shown(address)))  # an IPv4 address mapped into IPv6 as the IPv4 address that it is


def _check_fields(header: bytes, at: int) -> None:
    """Type, length, value: they fill the header exactly."""
    while at < len(header):
        if at + 3 > len(header):
            raise ProxyProtocolError("it ends within one of its fields")
        kind, length = struct.unpack_from("!BH", header, at)
        value, at = at + 3, at + 3 + length
        if at > len(header):
            raise ProxyProtocolError("one of its fields is longer than it")
        if kind == _CRC32C:
            if length != 4:
                raise ProxyProtocolError("its checksum does not have 4 bytes")
            (told,) = struct.unpack_from("!I", header, value)
            if crc32c(header[:value] + bytes(4) + header[value + 4 :]) != told:
                raise ProxyProtocolError("its checksum does not fit")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) as RFC 3720 appendix B.4 has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
