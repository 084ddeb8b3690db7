"""Releases: signed, whole, newer than what ran, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.adapters.last_good import read_last_good, write_last_good
from gateway.adapters.release import (
    RefusedError,
    Release,
    Seal,
    open_value,
    parse,
    require_newer,
    require_resolved,
)
from gateway.base.snapshot import Auth, Provider, Snapshot, encode

PEPPER = b"p" * 32
SEAL = Seal(PEPPER)


def snapshot(*names: str) -> Snapshot:
    return Snapshot("", providers=tuple(Provider(name, "openai", "https://h/v1") for name in names)).sealed()


def refusal(reason: str) -> pytest.RaisesExc[RefusedError]:
    return pytest.RaisesExc(RefusedError, check=lambda error: error.reason == reason)


def test_a_release_is_read_by_who_has_the_pepper() -> None:
    pointer, value = SEAL.release(snapshot("a"), after=None, by="me@here", note="why")
    release = SEAL.read(pointer)
    assert (release.by, release.note) == ("me@here", "why")
    assert open_value(release, value) == snapshot("a")


@pytest.mark.parametrize("field", ["sequence", "version", "digest", "at_ms", "by", "note"])
def test_a_release_that_was_changed_anywhere_is_refused(field: str) -> None:
    pointer, _ = SEAL.release(snapshot("a"), after=None, by="me")
    release = parse(pointer)
    other = getattr(release, field) + (1 if field in ("sequence", "at_ms") else "0")
    with refusal("signature"):
        SEAL.read(msgspec.json.encode(msgspec.structs.replace(release, **{field: other})))


def test_another_pepper_is_told_from_a_forgery() -> None:
    pointer, _ = Seal(b"q" * 32).release(snapshot("a"), after=None, by="me")
    with refusal("pepper"):
        SEAL.read(pointer)
    forged = msgspec.structs.replace(parse(pointer), signed_with=SEAL.name)
    with refusal("signature"):
        SEAL.read(msgspec.json.encode(forged))


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "malformed"), (b"[]", "malformed"), (b'{"layout":1}', "malformed"), (b'{"layout":2,"new":1}', "layout")],
)
def test_what_is_no_release_of_ours_is_refused(data: bytes, reason: str) -> None:
    with refusal(reason):
        SEAL.read(data)


def test_a_value_that_is_missing_damaged_or_another_one_is_refused() -> None:
    pointer, value = SEAL.release(snapshot("a"), after=None, by="me")
    release = parse(pointer)
    for data, reason in (
        (None, "missing"),
        (b"", "damaged"),
        (value[:-1], "damaged"),
        (value.replace(b'"a"', b'"b"'), "damaged"),
        (encode(snapshot("b")), "damaged"),
    ):
        with refusal(reason):
            open_value(release, data)


def test_sequence_numbers_rise_even_when_clocks_fall_back() -> None:
    first = parse(SEAL.release(snapshot("a"), after=None, by="me")[0])
    ahead = msgspec.structs.replace(first, sequence=first.sequence + 10**9)
    assert parse(SEAL.release(snapshot("b"), after=ahead, by="me")[0]).sequence == ahead.sequence + 1


def test_an_older_release_and_another_one_of_the_same_number_are_stale() -> None:
    one = parse(SEAL.release(snapshot("a"), after=None, by="me")[0])
    two = parse(SEAL.release(snapshot("b"), after=one, by="me")[0])
    require_newer(one, None)
    require_newer(two, one)
    require_newer(one, one)
    with refusal("stale"):
        require_newer(one, two)
    with refusal("stale"):
        require_newer(msgspec.structs.replace(one, version="x"), one)


def test_references_that_this_node_cannot_resolve_are_named(tmp_path: Path) -> None:
    def resolve(reference: str) -> str:
        raise ValueError(f"there is no {reference}")

    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    providers = (
        Provider("one", "openai", "https://h/v1", "env:ONE"),
        Provider("two", "openai", "https://h/v1", ca_file=str(tmp_path / "none.pem")),
        Provider("three", "openai", "https://h/v1", ca_file=str(bad)),
        Provider("four", "openai", "https://h/v1", cert_file=str(bad), key_file=str(tmp_path / "none.key")),
        Provider("five", "openai", "https://h/v1", headers=(("x-plain", "as it stands"), ("x-key", "env:FIVE"))),
        Provider("six", "azure", "https://h/v1", auth=Auth("entra_client_secret", client_secret="env:SIX")),
        Provider("seven", "vertex", "https://h/v1", auth=Auth("google_service_account", key_file=str(bad))),
    )
    with pytest.raises(RefusedError) as refused:
        require_resolved(Snapshot("v", providers=providers), resolve)
    assert refused.value.reason == "unresolved"
    for text in (
        'provider "one": there is no env:ONE',
        'provider "two": ca_file',
        'provider "three": ca_file',
        'provider "four": cert_file',
        'provider "five": there is no env:FIVE',
        'provider "six": there is no env:SIX',
        'provider "seven": the file',
    ):
        assert text in str(refused.value)


def test_the_last_good_release_survives_on_disk_and_damage_is_found(tmp_path: Path) -> None:
    file = tmp_path / "state" / "last"
    assert read_last_good(file, SEAL) is None
    pointer, value = SEAL.release(snapshot("a"), after=None, by="me")
    write_last_good(file, parse(pointer), value)
    assert read_last_good(file, SEAL) == (parse(pointer), snapshot("a"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]
    file.write_bytes(file.read_bytes()[:-1])
    with refusal("damaged"):
        read_last_good(file, SEAL)


def test_a_release_says_nothing_of_the_pepper() -> None:
    pointer, value = SEAL.release(snapshot("a"), after=None, by="me")
    assert PEPPER not in pointer + value
    assert isinstance(parse(pointer), Release)
