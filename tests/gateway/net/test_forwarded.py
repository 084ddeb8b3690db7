"""Whom a request comes from: the header counts from trusted proxies alone, and from the right."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.base.addresses import Networks, packed
from gateway.base.ports import Exchange
from gateway.net import forwarded
from gateway.net.forwarded import Clients, Forwarded, node_address, split_forwarded, split_list
from tests.support.rig import FakeExchange

TRUSTED = Networks(["10.0.0.0/8", "2001:db8:1::/48", "unix"])


def x_forwarded_for(host: str, *values: bytes) -> str:
    return Clients(TRUSTED, split_list).of(host, list(values))


def rfc_7239(host: str, *values: bytes) -> str:
    return Clients(TRUSTED, split_forwarded).of(host, list(values))


LISTS = [
    # of whom the connection is, the header, who is the caller
    ("10.0.0.1", [b"203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b" 203.0.113.7\t"], "203.0.113.7"),
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", [b""], "10.0.0.1"),
    ("unix", [b"203.0.113.7"], "203.0.113.7"),
    ("2001:db8:1::5", [b"203.0.113.7"], "203.0.113.7"),
    # what the caller wrote itself stands to the left
    ("10.0.0.1", [b"1.2.3.4, 203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b"10.9.9.9, 203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b"1.2.3.4", b"203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b"1.2.3.4, 5.6.7.8", b"203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    # several proxies of ours
    ("10.0.0.1", [b"203.0.113.7, 10.0.0.3, 10.0.0.2"], "203.0.113.7"),
    ("10.0.0.1", [b"10.0.0.4, 10.0.0.3"], "10.0.0.4"),
    # who is not trusted is itself the caller
    ("203.0.113.9", [b"1.2.3.4"], "203.0.113.9"),
    ("2001:db8:2::1", [b"1.2.3.4"], "2001:db8:2::1"),
    ("::ffff:203.0.113.9", [b"1.2.3.4"], "203.0.113.9"),
    ("::ffff:10.0.0.1", [b"203.0.113.7"], "203.0.113.7"),
    ("fe80::1%eth0", [], "fe80::1"),
    # no address
    ("10.0.0.1", [b"unknown"], "10.0.0.1"),
    ("10.0.0.1", [b"1.2.3.4, unknown"], "10.0.0.1"),
    ("10.0.0.1", [b"1.2.3.4, what?, 10.0.0.2"], "10.0.0.2"),
    ("10.0.0.1", [b"1.2.3.4,"], "10.0.0.1"),
    ("10.0.0.1", [b"010.0.0.1"], "10.0.0.1"),
    ("10.0.0.1", [b"1.2.3.4 5.6.7.8"], "10.0.0.1"),
    # spellings
    ("10.0.0.1", [b"203.0.113.7:51234"], "203.0.113.7"),
    ("10.0.0.1", [b"2001:db8::7"], "2001:db8::7"),
    ("10.0.0.1", [b"2001:DB8:0::7"], "2001:db8::7"),
    ("10.0.0.1", [b"[2001:db8::7]"], "2001:db8::7"),
    ("10.0.0.1", [b"[2001:db8::7]:443"], "2001:db8::7"),
    ("10.0.0.1", [b"::ffff:203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b"::ffff:10.0.0.3, ::ffff:10.0.0.2"], "10.0.0.3"),
]

FORWARDED = [
    ("10.0.0.1", [b"for=203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b"For=203.0.113.7;proto=https;by=10.0.0.1"], "203.0.113.7"),
    ("10.0.0.1", [b'proto=http;for="203.0.113.7:4711"'], "203.0.113.7"),
    ("10.0.0.1", [b'for="[2001:db8::7]:4711"'], "2001:db8::7"),
    ("10.0.0.1", [b'for="[2001:db8::7]"'], "2001:db8::7"),
    ("10.0.0.1", [b"for=1.2.3.4, for=203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b"for=1.2.3.4 , ,for=203.0.113.7,"], "203.0.113.7"),
    ("10.0.0.1", [b"for=203.0.113.7, for=10.0.0.2;by=10.0.0.3"], "203.0.113.7"),
    ("10.0.0.1", [b"for=1.2.3.4", b"for=203.0.113.7"], "203.0.113.7"),
    # a quote that the caller left open hides nothing that was appended, and nothing left of it is believed
    ("10.0.0.1", [b'for="1.2.3.4, for=203.0.113.7', b"for=10.0.0.2"], "203.0.113.7"),
    ("10.0.0.1", [b'for=", for=203.0.113.7'], "203.0.113.7"),
    ("10.0.0.1", [b'for=1.2.3.4, for=", for="203.0.113.7:80"'], "203.0.113.7"),
    ("10.0.0.1", [b'for="', b"for=203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", [b'x=", for=203.0.113.7;by="10.0.0.1:80"'], "203.0.113.7"),
    ("10.0.0.1", [b'for="\\, for="[2001:db8::7]:80"'], "2001:db8::7"),
    ("10.0.0.1", [b'for=1.2.3.4, for=", for=10.0.0.2'], "10.0.0.2"),
    ("10.0.0.1", [b'for="203.0.113.7'], "10.0.0.1"),
    ("10.0.0.1", [b'for=1.2.3.4, for="203.0.113.7'], "10.0.0.1"),
    ("10.0.0.1", [b'for=203.0.113.7"'], "10.0.0.1"),
    # commas and semicolons inside of quotes end nothing
    ("10.0.0.1", [b'for=203.0.113.7;host="a,for=1.2.3.4"'], "203.0.113.7"),
    ("10.0.0.1", [b'for=203.0.113.7;host="a,b=";proto="http"'], "203.0.113.7"),
    ("10.0.0.1", [b'for=203.0.113.7;host="a,for=\\"1.2.3.4\\""'], "203.0.113.7"),
    ("10.0.0.1", [b'for=203.0.113.7;host="' + b"," * forwarded.MAX_HOPS + b'"'], "10.0.0.1"),
    # a parameter stands once, and empty ones are none
    ("10.0.0.1", [b"for=203.0.113.7;for=1.2.3.4"], "10.0.0.1"),
    ("10.0.0.1", [b"for=203.0.113.7;"], "203.0.113.7"),
    ("10.0.0.1", [b"; ;for=203.0.113.7 ; ; proto=http"], "203.0.113.7"),
    ("10.0.0.1", [b'for="a\\",b", for=203.0.113.7'], "203.0.113.7"),
    ("10.0.0.1", [b"for=1.2.3.4, for=_hidden"], "10.0.0.1"),
    ("10.0.0.1", [b"for=1.2.3.4, for=unknown"], "10.0.0.1"),
    ("10.0.0.1", [b"for=1.2.3.4, proto=https"], "10.0.0.1"),
    ("10.0.0.1", [b"for=1.2.3.4; proto=https"], "1.2.3.4"),
    ("10.0.0.1", [b"for=1.2.3.4, for"], "10.0.0.1"),
    ("10.0.0.1", [b"for=1.2.3.4, for = 5.6.7.8"], "10.0.0.1"),
    ("10.0.0.1", [b"203.0.113.7"], "10.0.0.1"),
    ("203.0.113.9", [b"for=1.2.3.4"], "203.0.113.9"),
]


@pytest.mark.parametrize(("host", "values", "caller"), LISTS)
def test_the_rightmost_address_that_is_not_trusted_is_the_callers(host: str, values: list[bytes], caller: str) -> None:
    assert x_forwarded_for(host, *values) == caller


@pytest.mark.parametrize(("host", "values", "caller"), FORWARDED)
def test_forwarded_is_read_by_the_same_rule(host: str, values: list[bytes], caller: str) -> None:
    assert rfc_7239(host, *values) == caller


def test_only_so_many_hops_are_looked_at() -> None:
    trusted = [f"10.1.0.{n}" for n in range(100)]
    value = ", ".join(["203.0.113.7", *trusted]).encode()
    assert x_forwarded_for("10.0.0.1", value) == trusted[-forwarded.MAX_HOPS]
    assert x_forwarded_for("10.0.0.1", *value.split(b", ")) == trusted[-forwarded.MAX_HOPS]


def test_an_answer_that_is_remembered_is_the_one_that_was_found() -> None:
    clients = Clients(TRUSTED, split_list)
    for _ in range(2):
        assert clients.of("10.0.0.1", [b"203.0.113.7"]) == "203.0.113.7"
        assert clients.of("10.0.0.2", [b"unknown"]) == "10.0.0.2"
        assert clients.of("10.0.0.1", [b"unknown"]) == "10.0.0.1"
        assert clients.of("203.0.113.9", [b"203.0.113.7"]) == "203.0.113.9"
        assert clients.of("10.0.0.1", [b"x" * 60_000 + b", 203.0.113.7"]) == "203.0.113.7"


@settings(deadline=None)
@given(value=st.binary(max_size=80), header=st.sampled_from([split_list, split_forwarded]))
def test_any_value_gives_an_address(value: bytes, header: Any) -> None:
    assert ipaddress.ip_address(Clients(TRUSTED, header).of("10.0.0.1", [value]))


@settings(deadline=None)
@given(
    written=st.lists(
        st.binary(max_size=20) | st.sampled_from([b'for="', b'for="\\', b'x="a;', b'for=", by="']), max_size=5
    ),
    caller=st.ip_addresses(v=4).filter(lambda a: packed(str(a)) not in TRUSTED),
    hops=st.lists(st.sampled_from(["10.0.0.2", "10.255.0.1", "2001:db8:1::9"]), max_size=4),
)
def test_whatever_a_caller_writes_its_own_address_is_found(
    written: list[bytes], caller: ipaddress.IPv4Address, hops: list[str]
) -> None:
    appended = [str(caller), *hops]
    value = b", ".join([*written, *(each.encode() for each in appended)])
    assert x_forwarded_for("10.0.0.1", value) == str(caller)
    lines = [*written, *(each.encode() for each in appended)]
    assert x_forwarded_for("10.0.0.1", *lines) == str(caller)
    nodes = [f'for="[{each}]"' if ":" in each else f"for={each}" for each in appended]
    assert rfc_7239("10.0.0.1", *written, ", ".join(nodes).encode()) == str(caller)


def test_a_node_with_a_zone_or_a_wrong_port_is_no_address() -> None:
    for node in (
        b"fe80::1%eth0",
        b"1.2.3.4:",
        b"1.2.3.4:x",
        b"1.2.3.4:123456",
        b"[::1",
        b"[1.2.3.4]",
        b"[::1]x",
        b"\xff",
    ):
        assert node_address(node) is None, node


class Kept:
    """An application that keeps whom it was asked by."""

    def __init__(self) -> None:
        self.clients: list[str | None] = []

    def on_request(self, exchange: Exchange) -> None:
        self.clients.append(exchange.client)

    def on_head(self, exchange: Exchange) -> bool:
        self.clients.append(exchange.client)
        return True

    def on_refusal(self, status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        return b"", reason.encode()


@pytest.mark.parametrize(
    ("peer", "told", "caller"),
    [
        ("10.0.0.1:5", None, "203.0.113.7"),
        ("2001:db8:1::1:5", None, "203.0.113.7"),
        ("unix", None, "203.0.113.7"),
        ("203.0.113.9:5", None, "203.0.113.9"),
        ("203.0.113.9:5", "10.0.0.1", "203.0.113.7"),  # a PROXY header told of another proxy of ours
        ("10.0.0.1:5", "203.0.113.9", "203.0.113.9"),  # ... or of the caller itself
    ],
)
def test_the_application_sees_the_caller_with_the_head_and_with_the_request(
    peer: str, told: str | None, caller: str
) -> None:
    kept = Kept()
    edge = Forwarded(kept, TRUSTED, b"x-forwarded-for")
    for called in (edge.on_head, edge.on_request):
        exchange = FakeExchange(headers={b"x-forwarded-for": b"1.2.3.4, 203.0.113.7", b"forwarded": b"for=9.9.9.9"})
        exchange.peer, exchange.client = peer, told
        called(exchange)
    assert kept.clients == [caller, caller]
    assert edge.on_refusal(400, "why", "x") == (b"", b"why")


def test_a_long_header_of_commas_and_quotes_costs_little() -> None:
    for value in (
        b"," * 60_000,
        b'a=",' * 15_000,
        b'a="\\",' * 10_000,
        b" ; " * 20_000 + b'"',
        b"a=b;" * 15_000 + b'"',
    ):
        began = time.process_time()
        assert rfc_7239("10.0.0.1", value) == "10.0.0.1"
        assert time.process_time() - began < 0.25
