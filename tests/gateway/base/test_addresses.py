"""How far an address reaches, in every spelling that hides it; the standard library's `ipaddress` is the oracle."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gateway.base.addresses import Networks, Reach, packed, reach, shown

PUBLIC, PRIVATE, LOOPBACK, NEVER = Reach.PUBLIC, Reach.PRIVATE, Reach.LOOPBACK, Reach.NEVER

REACHES = [
    ("8.8.8.8", PUBLIC),
    ("1.1.1.1", PUBLIC),
    ("172.15.255.255", PUBLIC),
    ("172.32.0.0", PUBLIC),
    ("100.63.255.255", PUBLIC),
    ("2606:4700:4700::1111", PUBLIC),
    ("10.0.0.0", PRIVATE),
    ("10.255.255.255", PRIVATE),
    ("172.16.0.0", PRIVATE),
    ("172.31.255.255", PRIVATE),
    ("192.168.1.1", PRIVATE),
    ("100.64.0.1", PRIVATE),
    ("192.0.2.1", PRIVATE),
    ("198.18.0.1", PRIVATE),
    ("fd12:3456::1", PRIVATE),
    ("2001:db8::1", PRIVATE),
    ("127.0.0.1", LOOPBACK),
    ("127.255.255.255", LOOPBACK),
    ("::1", LOOPBACK),
    ("0.0.0.0", NEVER),
    ("0.1.2.3", NEVER),
    ("::", NEVER),
    ("169.254.0.1", NEVER),
    ("fe80::1", NEVER),
    ("fe80::1%eth0", NEVER),
    ("fec0::1", NEVER),
    ("224.0.0.1", NEVER),
    ("239.255.255.255", NEVER),
    ("ff02::1", NEVER),
    ("240.0.0.1", NEVER),
    ("255.255.255.255", NEVER),
    # metadata of the clouds
    ("169.254.169.254", NEVER),
    ("169.254.170.2", NEVER),
    ("100.100.100.200", NEVER),
    ("168.63.129.16", NEVER),
    ("192.0.0.192", NEVER),
    ("fd00:ec2::254", NEVER),
    ("fd00:ec2::23", NEVER),
    ("fd20:ce::254", NEVER),
    ("fe80::a9fe:a9fe", NEVER),
    # the same within IPv6
    ("::ffff:169.254.169.254", NEVER),
    ("::ffff:a9fe:a9fe", NEVER),
    ("::ffff:127.0.0.1", LOOPBACK),
    ("::ffff:10.0.0.1", PRIVATE),
    ("::ffff:8.8.8.8", PUBLIC),
    ("::169.254.169.254", NEVER),
    ("::10.0.0.1", PRIVATE),
    ("::ffff:0:169.254.169.254", NEVER),
    ("64:ff9b::169.254.169.254", NEVER),
    ("64:ff9b::127.0.0.1", LOOPBACK),
    ("64:ff9b::10.0.0.1", PRIVATE),
    ("64:ff9b::8.8.8.8", PUBLIC),
    ("64:ff9b:1::169.254.169.254", NEVER),
    ("64:ff9b:1:a9fe:a9:fe00::", NEVER),  # behind /48, around the free byte
    ("64:ff9b:1:808:8:800:808:808", PRIVATE),
    ("2002:a9fe:a9fe::1", NEVER),
    ("2002:7f00:1::", LOOPBACK),
    ("2002:808:808::1", PUBLIC),
    ("2001:0:a9fe:a9fe::", NEVER),  # a Teredo server
    ("2001:0:808:808::5601:5601", NEVER),  # a Teredo client, its bits turned over
    ("2606:4700::5efe:169.254.169.254", NEVER),
    ("2606:4700::200:5efe:127.0.0.1", LOOPBACK),
    ("2606:4700::5efe:8.8.8.8", PUBLIC),
]


@pytest.mark.parametrize(("address", "expected"), REACHES)
def test_how_far_an_address_reaches(address: str, expected: Reach) -> None:
    found, what = reach(packed(address))
    assert found is expected
    assert what


# -- against the oracle

MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
METADATA = [
    ipaddress.ip_network(text)
    for text in [
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:42::42/128",
    ]
]
LISTED_HERE = [  # private by our table, whatever the version of `ipaddress` thinks
    ipaddress.ip_network(text)
    for text in [
        "100.64.0.0/10",
        "192.0.0.0/24",
        "64:ff9b:1::/48",
        "2001::/23",
        "3fff::/20",
        "5f00::/16",
        "100::/64",
        "2001:db8::/32",
        "198.18.0.0/15",
    ]
]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def embedded(address: Address) -> Iterator[Address]:
    """What an address leads on to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    high = int(address) >> 32
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if high in (0, 0xFFFF0000, 0x0064FF9B << 64) or high >> 48 == 0x0064FF9B0001 or high & 0xFDFFFFFF == 0x00005EFE:
        yield low
    if high >> 48 == 0x0064FF9B0001:
        octets = address.packed
        yield ipaddress.IPv4Address(octets[6:8] + octets[9:11])


def oracle(address: Address) -> Reach:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return oracle(address.ipv4_mapped)
    own = alone(address)
    return max([own, *map(alone, embedded(address))]) if own < LOOPBACK else own


def alone(address: Address) -> Reach:
    inside = [address in network for network in METADATA]
    if any(inside) or address.is_link_local or address.is_multicast or address.is_unspecified:
        return NEVER
    if isinstance(address, ipaddress.IPv4Address):
        if address.is_reserved or int(address) >> 24 == 0:
            return NEVER
    elif address.is_site_local:
        return NEVER
    if address.is_loopback:
        return LOOPBACK
    return PRIVATE if address.is_private or any(address in network for network in LISTED_HERE) else PUBLIC


PREFIXES = [
    "0.0.0.0/0 0.0.0.0/8 10.0.0.0/8 127.0.0.0/8 169.254.0.0/16 172.0.0.0/8 192.0.0.0/16 192.168.0.0/16 100.64.0.0/9 224.0.0.0/3",
    "::/0 ::/96 ::/126 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2000::/3 2001::/23 2001::/32 2002::/16",
    "2001:db8::/31 3fff::/19 5f00::/15 fc00::/6 fd00:ec2::/31 fe80::/9 fec0::/9 ff00::/8 100::/63 2606:4700::5efe:0:0/96",
    "2002:a9fe::/32 2002:7f00::/24 64:ff9b::7f00:0/104 ::ffff:169.254.0.0/112 64:ff9b:1:a9fe::/64",
]


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    network = ipaddress.ip_network(draw(st.sampled_from(" ".join(PREFIXES).split())), strict=False)
    host = network.max_prefixlen - network.prefixlen
    number = int(network.network_address) | draw(st.integers(0, (1 << host) - 1))
    return ipaddress.IPv4Address(number) if network.version == 4 else ipaddress.IPv6Address(number)


@settings(max_examples=500, deadline=None)
@given(address=addresses())
@example(address=ipaddress.ip_address("fd00:ec2::254"))
def test_the_reach_of_any_address_is_what_the_oracle_says(address: Address) -> None:
    assert reach(packed(str(address)))[0] is oracle(address)


# -- text


@pytest.mark.parametrize(
    "text",
    [
        "127.1",
        "0x7f.0.0.1",
        "017700000001",
        "2130706433",
        "010.0.0.1",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "::g",
        "1::2::3",
        "[::1]",
        "localhost",
        "",
        " 127.0.0.1",
        "127.0.0.1 ",
        "1.2.3.4\x00",
        "\N{ARABIC-INDIC DIGIT ONE}.2.3.4",
        "::1/128",
    ],
)
def test_what_readers_differ_on_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        packed(text)


@given(address=addresses())
def test_an_address_is_shown_as_it_is_commonly_written(address: Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    expected = mapped if mapped is not None else address
    assert ipaddress.ip_address(shown(packed(str(address)))) == expected


# -- networks


@settings(deadline=None)
@given(data=st.data(), address=addresses())
def test_a_network_holds_what_the_oracle_says(data: st.DataObject, address: Address) -> None:
    network = ipaddress.ip_network((address, data.draw(st.integers(0, address.max_prefixlen))), strict=False)
    other = data.draw(addresses())
    assume(not network.overlaps(MAPPED) if isinstance(network, ipaddress.IPv6Network) else True)
    assert packed(str(address)) in Networks([str(network)])
    if other not in MAPPED:
        assert (packed(str(other)) in Networks([str(network)])) == (other in network)


def test_networks_know_unix_sockets_apart_from_addresses() -> None:
    networks = Networks(["unix", "10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8::1"])
    assert networks.unix and not Networks(["10.0.0.0/8"]).unix
    for text, expected in (("10.9.9.9", True), ("::ffff:10.9.9.9", True), ("11.0.0.0", False), ("192.168.3.4", True)):
        assert (packed(text) in networks) is expected
    assert packed("2001:db8::1") in networks and packed("2001:db8::2") not in networks
    assert packed("0.0.0.0") in Networks(["0.0.0.0/0"]) and packed("::1") not in Networks(["0.0.0.0/0"])


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/x", "10.0.0.0/", "::/129", "a/8", "::ffff:0:0/90"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Networks([text])
