"""Whose request it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.base.context import Context
from gateway.base.errors import GatewayError
from gateway.phases.authenticate import Authenticator
from tests.support.rig import PEPPER, SECRET, FakeExchange, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def context(rig: Rig, secret: bytes | None = SECRET) -> Context:
    exchange = FakeExchange()
    if secret is None:
        del exchange.headers[b"authorization"]
    else:
        exchange.headers[b"authorization"] = b"Bearer " + secret
    return Context(exchange, rig.compiled, "req_1", exchange.received_ns)


def test_finds_the_key_by_its_hmac_and_then_by_its_digest(rig: Rig) -> None:
    authenticate = Authenticator(PEPPER).authenticate
    first, second = context(rig), context(rig)
    authenticate(first)
    rig.compiled.key_by_hmac.clear()  # what was seen is found without it
    authenticate(second)
    assert first.key is second.key is rig.key
    assert len(rig.compiled.keys_seen) == 1


@pytest.mark.parametrize("secret", [None, b"", b"wrong", SECRET + b"x", SECRET[:-1], SECRET.upper(), b"k" * 513])
def test_refuses_all_else_and_remembers_nothing_of_it(rig: Rig, secret: bytes | None) -> None:
    authenticate = Authenticator(PEPPER).authenticate
    ctx = context(rig, secret)
    with pytest.raises(GatewayError) as caught:
        authenticate(ctx)
    assert (caught.value.fault.code, ctx.key) == ("invalid_api_key", None)
    assert not rig.compiled.keys_seen
    assert not secret or secret.decode() not in caught.value.message


def test_a_key_is_bound_to_the_pepper(rig: Rig) -> None:
    with pytest.raises(GatewayError):
        Authenticator(b"q" * 32).authenticate(context(rig))


@pytest.mark.parametrize(("seconds", "valid"), [(10, True), (-10, False)])
def test_an_expired_key_is_refused_even_when_it_was_seen(rig: Rig, seconds: int, valid: bool) -> None:
    authenticate = Authenticator(PEPPER).authenticate
    authenticate(context(rig))
    rig.key.expires_at_s = int(time.time()) + seconds
    if valid:
        authenticate(context(rig))
    else:
        with pytest.raises(GatewayError, match="expired") as caught:
            authenticate(context(rig))
        assert (caught.value.fault.code, caught.value.status) == ("api_key_expired", 401)


def test_processes_do_not_share_their_digests(rig: Rig) -> None:
    Authenticator(PEPPER).authenticate(context(rig))
    (seen,) = rig.compiled.keys_seen
    rig.compiled.keys_seen.clear()
    Authenticator(PEPPER).authenticate(context(rig))
    assert seen not in rig.compiled.keys_seen
