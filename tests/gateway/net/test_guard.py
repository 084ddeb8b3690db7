"""Where a provider's name may lead, by what kind of name it is."""

from __future__ import annotations

import pytest

from gateway.base.addresses import Networks
from gateway.net.guard import AddressGuard, is_local_name

METADATA, LOOPBACK, PRIVATE, PUBLIC = "169.254.169.254", "127.0.0.1", "10.0.0.7", "8.8.8.8"
NEVER = (
    METADATA,
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "0.0.0.0",
    "ff02::1",
)

HOSTS = [
    # host, and which of loopback, private and public it may be
    ("127.0.0.1", "LPW"),
    ("10.0.0.7", "LPW"),
    ("::1", "LPW"),
    ("localhost", "LPW"),
    ("api.localhost", "LPW"),
    ("vllm", "LPW"),
    ("vllm.", "LPW"),
    ("vllm.internal", "LPW"),
    ("llm.ml.svc.cluster.local", "LPW"),
    ("box.home.arpa", "LPW"),
    ("api.openai.com", "PW"),
    ("llm.corp.example.com", "PW"),
    ("localhost.example.com", "PW"),
    ("internal.example.com", "PW"),
    ("local.com", "PW"),
]


def guard(
    host: str, allowed: tuple[str, ...] = (), public: set[str] | None = None, *, chosen: bool = False
) -> AddressGuard:
    return AddressGuard("p", host, Networks(allowed), set() if public is None else public, chosen=chosen)


@pytest.mark.parametrize(("host", "may"), HOSTS)
def test_a_name_may_lead_where_names_of_its_kind_do(host: str, may: str) -> None:
    for letter, address in (("L", LOOPBACK), ("L", "::1"), ("P", PRIVATE), ("P", "fd12::1"), ("W", PUBLIC)):
        assert (guard(host).refusal(address) is None) is (letter in may), address


@pytest.mark.parametrize("host", [host for host, _ in HOSTS])
@pytest.mark.parametrize("address", NEVER)
def test_no_name_leads_to_metadata_or_to_what_is_no_service(host: str, address: str) -> None:
    assert guard(host).refusal(address) is not None
    assert guard(host, chosen=True).refusal(address) is not None


def test_a_public_name_that_turns_private_is_refused_and_a_private_one_is_not() -> None:
    public: set[str] = set()
    rebound = guard("api.example.com", public=public)
    rebound.look_at([PUBLIC])
    assert rebound.refusal(PUBLIC) is None
    assert "now, a name of public addresses" in str(rebound.refusal(PRIVATE))
    assert guard("api.example.com", public=public).refusal(PRIVATE) is not None, "a new configuration forgets nothing"
    assert guard("other.example.com", public=public).refusal(PRIVATE) is None
    inside = guard("llm.corp.example.com")
    inside.look_at([PRIVATE, "10.0.0.8"])
    assert inside.refusal(PRIVATE) is None


def test_of_an_answer_of_both_kinds_only_the_public_addresses_are_used() -> None:
    both = guard("api.example.com")
    both.look_at([PRIVATE, PUBLIC])
    assert both.refusal(PRIVATE) is not None and both.refusal(PUBLIC) is None
    local = guard("vllm.internal")
    local.look_at([PRIVATE, PUBLIC])
    assert local.refusal(PRIVATE) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (METADATA, "169.254.169.254"),
        ("::ffff:169.254.169.254", "169.254.0.0/16"),
        (LOOPBACK, "127.0.0.0/8"),
        ("fd00:ec2::254", "fd00:ec2::/32"),
    ],
)
def test_what_the_operator_allows_is_allowed_and_nothing_beside_it(address: str, allowed: str) -> None:
    assert guard("api.example.com").refusal(address) is not None
    assert guard("api.example.com", (allowed,)).refusal(address) is None
    assert guard("api.example.com", (allowed,)).refusal("224.0.0.1") is not None


def test_a_proxy_is_the_operators_own_whatever_its_name() -> None:
    proxy = guard("proxy.corp.example.com", chosen=True)
    proxy.look_at([PUBLIC])
    assert proxy.refusal(LOOPBACK) is None and proxy.refusal(PRIVATE) is None


def test_a_refusal_names_provider_host_address_and_the_setting() -> None:
    said = guard("api.example.com").refusal(LOOPBACK)
    assert said == (
        "127.0.0.1 (this machine), to which 'api.example.com' resolves, is not connected to; "
        "providers.p.allow_addresses would allow it"
    )
    assert str(guard(METADATA).refusal(METADATA)).startswith("169.254.169.254 (link-local, where a cloud serves")
    assert "169.254.169.254 within an IPv6 address" in str(guard("x").refusal("64:ff9b::a9fe:a9fe"))


@pytest.mark.parametrize("name", ["a.b", "example.org", "local.example", "xn--bcher-kva.example"])
def test_a_public_name_is_not_local(name: str) -> None:
    assert not is_local_name(name) and not is_local_name(f"{name}.")
