"""The PROXY header: whole, byte by byte and with what follows; and nothing but it."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec.proxy_protocol import (
    MAX_V1_BYTES,
    MAX_V2_BYTES,
    SIGNATURE_V1,
    SIGNATURE_V2,
    Header,
    ProxyProtocolError,
    crc32c,
    may_begin,
    read,
)

V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 51_234, 443)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 51_234, 443)
)
UNIX = bytes(216)


def v2(command: int, family: int, content: bytes, length: int | None = None) -> bytes:
    return SIGNATURE_V2 + struct.pack("!BBH", command, family, len(content) if length is None else length) + content


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(family: int, addresses: bytes, *fields: bytes) -> bytes:
    content = addresses + b"".join(fields)
    blank = v2(0x21, family, content + field(3, bytes(4)))
    return v2(0x21, family, content + field(3, struct.pack("!I", crc32c(blank))))


GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", "192.0.2.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 2001:DB8:0:0::7 ::1 1 2\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7"),
    (b"PROXY TCP6 %b %b 65535 65535\r\n" % ((b"ffff:" * 7 + b"ffff",) * 2), ":".join(["ffff"] * 8)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 whatever it says\r\n", None),
    (b"PROXY UNKNOWN %b\r\n" % (b"x" * (MAX_V1_BYTES - 16)), None),
    (v2(0x21, 0x11, V4), "192.0.2.7"),
    (v2(0x21, 0x21, V6), "2001:db8::7"),
    (v2(0x21, 0x21, socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.7") + V6[16:]), "192.0.2.7"),
    (v2(0x21, 0x31, UNIX), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x00, b"\xff\xff\xff anything"), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, V4), None),
    (v2(0x20, 0xFF, b"what a balancer asks for itself"), None),
    (v2(0x21, 0x11, V4 + field(4, b"") + field(1, b"h2") + field(2, b"gateway.example")), "192.0.2.7"),
    (v2(0x21, 0x11, V4 + field(0x20, b"\x01\x00\x00\x00\x00" + field(0x21, b"TLSv1.3"))), "192.0.2.7"),
    (v2(0x21, 0x11, V4 + field(4, bytes(MAX_V2_BYTES - 16 - 12 - 3))), "192.0.2.7"),
    (with_checksum(0x11, V4), "192.0.2.7"),
    (with_checksum(0x21, V6, field(1, b"http/1.1")), "2001:db8::7"),
]

BAD = [
    # version 1
    (b"GET / HTTP/1.1\r\n", "does not begin"),
    (b"\x16\x03\x01", "does not begin"),
    (b"proxy TCP4", "does not begin"),
    (b"\r\n\r\n\x00\r\nQUIT\r", "does not begin"),
    (b"PROXY \r\n", "another transport"),
    (b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n", "another transport"),
    (b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n", "another transport"),
    (b"PROXY UNKNOWNS\r\n", "another transport"),
    (b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", "another transport"),
    (b"PROXY TCP4\r\n", "two addresses"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n", "two addresses"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n", "two addresses"),
    (b"PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n", "two addresses"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n", "two addresses"),
    (b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", "an address"),
    (b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n", "an address"),
    (b"PROXY TCP4 127.1 198.51.100.1 1 2\r\n", "an address"),
    (b"PROXY TCP4 ::1 ::1 1 2\r\n", "an address is none of TCP4"),
    (b"PROXY TCP6 192.0.2.7 192.0.2.7 1 2\r\n", "an address is none of TCP6"),
    (b"PROXY TCP6 ::1%eth0 ::1 1 2\r\n", "an address"),
    (b"PROXY TCP6 ::1 ::g 1 2\r\n", "an address"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n", "a port"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 02\r\n", "a port"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n", "a port"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 \r\n", "a port"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n", "not its end"),
    (b"PROXY TCP4 192.0.2.7\r198.51.100.1 1 2\r\n", "not its end"),
    (b"PROXY UNKNOWN x\nGET / HTTP/1.1\r\n", "not its end"),
    (b"PROXY UNKNOWN %b\r\n" % (b"x" * (MAX_V1_BYTES - 15)), "longer than 107"),
    # version 2
    (v2(0x11, 0x11, V4), "its version"),
    (v2(0x22, 0x11, V4), "its version"),
    (v2(0x31, 0x11, V4), "its version"),
    (v2(0x21, 0x12, V4), "family or transport"),
    (v2(0x21, 0x22, V6), "family or transport"),
    (v2(0x21, 0x41, V4), "family or transport"),
    (v2(0x21, 0x10, V4), "family or transport"),
    (v2(0x21, 0x01, V4), "family or transport"),
    (v2(0x21, 0x11, V4[:-1]), "shorter than the addresses"),
    (v2(0x21, 0x21, V4), "shorter than the addresses"),
    (v2(0x21, 0x31, UNIX[:-1]), "shorter than the addresses"),
    (v2(0x21, 0x11, V4 + b"\x04"), "within one of its fields"),
    (v2(0x21, 0x11, V4 + b"\x04\x00"), "within one of its fields"),
    (v2(0x21, 0x11, V4 + b"\x04\x00\x01"), "longer than it"),
    (v2(0x21, 0x11, V4 + field(4, b"abc")[:-1]), "longer than it"),
    (v2(0x21, 0x11, V4 + field(3, b"\x00\x00\x00")), "does not have 4 bytes"),
    (v2(0x21, 0x11, V4 + field(3, bytes(4))), "does not fit"),
    (with_checksum(0x11, V4)[:16] + b"\xc1" + with_checksum(0x11, V4)[17:], "does not fit"),
    (v2(0x21, 0x11, V4 + field(4, bytes(MAX_V2_BYTES - 16 - 12 - 2))), "4096 are taken"),
    (v2(0x20, 0x00, b"", 65_535), "4096 are taken"),
]


def names(cases: list[tuple[bytes, str | None]]) -> list[str]:
    return [f"{at}-{data[:30]!r}" for at, (data, _) in enumerate(cases)]


@pytest.mark.parametrize(("data", "client"), GOOD, ids=names(GOOD))
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", SIGNATURE_V2, SIGNATURE_V1])
def test_a_header_ends_where_it_ends_whatever_follows(data: bytes, client: str | None, behind: bytes) -> None:
    assert read(data + behind) == Header(len(data), client)


@pytest.mark.parametrize(("data", "client"), GOOD, ids=names(GOOD))
def test_a_header_that_comes_byte_by_byte_is_awaited(data: bytes, client: str | None) -> None:
    for size in range(len(data)):
        assert read(data[:size]) is None
    assert read(data) == Header(len(data), client)


@pytest.mark.parametrize(("data", "said"), BAD, ids=names(list(BAD)))
def test_what_is_malformed_is_refused_whole_and_byte_by_byte(data: bytes, said: str) -> None:
    with pytest.raises(ProxyProtocolError, match=said):
        read(data)
    with pytest.raises(ProxyProtocolError, match=said):
        read(data + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    size = 0
    with pytest.raises(ProxyProtocolError):
        for size in range(1, len(data) + 1):
            assert read(data[:size]) is None
    assert size <= MAX_V2_BYTES


def test_a_header_is_known_by_its_whole_signature() -> None:
    assert may_begin(b"PROXY x") and may_begin(SIGNATURE_V2 + b"!")
    assert not any(may_begin(data) for data in (b"", b"PROX", b"POST / HTTP/1.1", SIGNATURE_V2[:-1], b"\x16\x03"))


def test_the_checksum_is_the_one_of_rfc_3720() -> None:
    vectors = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"123456789": 0xE3069283}
    assert {data: crc32c(data) for data in vectors} == vectors


# -- any bytes

octets = st.binary(max_size=300)
noise = st.one_of(
    octets,
    octets.map(lambda data: SIGNATURE_V1 + data),
    octets.map(lambda data: SIGNATURE_V2 + data),
    st.tuples(st.sampled_from([data for data, _ in GOOD]), octets, st.integers(0, 300)).map(
        lambda made: made[0][: made[2]] + made[1] + made[0][made[2] :]
    ),
)


@settings(max_examples=500, deadline=None)
@given(data=noise, cut=st.integers(0, 400))
def test_any_bytes_are_read_awaited_or_refused_and_more_of_them_change_no_answer(data: bytes, cut: int) -> None:
    def outcome(part: bytes) -> Header | str | None:
        try:
            return read(part)
        except ProxyProtocolError as error:
            return str(error)

    whole, part = outcome(data), outcome(data[:cut])
    if isinstance(whole, Header):
        assert 0 < whole.size <= min(len(data), MAX_V2_BYTES)
        assert read(data[: whole.size]) == whole
        assert whole.client is None or ipaddress.ip_address(whole.client)
    if isinstance(part, Header):
        assert whole == part
    elif part is not None:
        assert isinstance(whole, str)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ports = st.integers(0, 65_535)


@given(
    source=addresses,
    port=ports,
    fields=st.lists(st.tuples(st.integers(0x30, 0xFF), st.binary(max_size=40)), max_size=5),
)
def test_what_another_writes_is_read_in_both_versions(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, fields: list[tuple[int, bytes]]
) -> None:
    transport, family = ("TCP4", 0x11) if source.version == 4 else ("TCP6", 0x21)
    mapped = source.ipv4_mapped if isinstance(source, ipaddress.IPv6Address) else None
    client = str(mapped if mapped is not None else source)
    line = f"PROXY {transport} {source} {source} {port} {port}\r\n".encode()
    packet = v2(0x21, family, source.packed * 2 + struct.pack("!HH", port, port) + b"".join(field(*f) for f in fields))
    for header in (line, packet):
        found = read(header + b"rest")
        assert found is not None and found.size == len(header)
        assert ipaddress.ip_address(found.client or "") == ipaddress.ip_address(client)
