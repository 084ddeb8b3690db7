"""Callers' keys: their form, and a store that loses none and shows none."""

from __future__ import annotations

import hashlib
import hmac
import multiprocessing
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.snapshot import Budget, Limits
from gateway.control import keys as module
from gateway.control.keys import KeyStore, KeyStoreError, key_hmac, key_id_of, new_secret

PEPPER = b"p" * 64
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "state" / "keys.json")


def test_a_key_has_its_form_and_its_checksum() -> None:
    key_id, secret = new_secret()
    assert re.fullmatch(r"tw_[a-z2-7]{10}_[0-9A-Za-z]{38}", secret)
    value = 0
    for digit in secret[-6:]:
        value = value * 62 + BASE62.index(digit)
    assert value == zlib.crc32(secret[:-6].encode())
    assert key_id_of(secret) == key_id == secret[3:13]


@given(at=st.integers(3, 50), digit=st.sampled_from(BASE62))
def test_one_wrong_digit_is_found_without_a_look_up(at: int, digit: str) -> None:
    _, secret = new_secret()
    slip = secret[:at] + digit + secret[at + 1 :]
    assert (key_id_of(slip) is not None) == (slip == secret)


@given(st.text(max_size=60))
def test_other_text_is_no_key(text: str) -> None:
    assert key_id_of(text) is None


def test_the_hmac_is_sha256s_of_the_whole_key() -> None:
    assert key_hmac(PEPPER, "tw_a_b") == hmac.new(PEPPER, b"tw_a_b", hashlib.sha256).hexdigest()


def test_what_is_created_is_listed_and_its_secret_kept_nowhere(store: KeyStore) -> None:
    limits, budget = Limits(requests_per_minute=5), Budget(7, "day")
    made, secret = store.create(
        "a", pepper=PEPPER, team="t", models=("m",), limits=limits, budget=budget, expires_at_s=2_000_000_000
    )
    assert store.list() == (made,)
    assert made.key.hmac == key_hmac(PEPPER, secret)
    assert (made.key.id, made.key.limits, made.key.budget) == (key_id_of(secret), limits, budget)
    assert secret.rpartition("_")[2] not in store.path.read_text()
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_a_revoked_key_stays_listed_and_frees_its_name(store: KeyStore) -> None:
    first, _ = store.create("a", pepper=PEPPER)
    revoked = store.revoke("a")
    assert revoked.revoked_at_s is not None and store.list() == (revoked,)
    second, _ = store.create("a", pepper=PEPPER)
    assert store.revoke(second.key.id).key == second.key
    assert [entry.key.id for entry in store.list()] == [first.key.id, second.key.id]


def test_what_cannot_be_done_says_so_in_one_line(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("a", pepper=PEPPER)
    monkeypatch.setattr(module, "MAX_KEYS", 1)
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: store.create("a", pepper=PEPPER), "a key named"),
        (lambda: store.create("b", pepper=PEPPER), "its bound"),
        (lambda: store.create("two words", pepper=PEPPER), "no name for a key"),
        (lambda: store.revoke("b"), "no live key"),
    ]
    for call, message in cases:
        with pytest.raises(KeyStoreError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    monkeypatch.undo()
    with pytest.raises(KeyStoreError, match="another pepper"):
        store.create("b", pepper=b"other")
    assert store.made_under(PEPPER) and not store.made_under(b"other")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a store"),
        ("[]", "not a store"),
        ('{"format": 1}', "not a store"),
        ('{"format":2,"pepper_mark":""}', "format 2"),
    ],
)
def test_a_file_that_is_no_store_is_left_as_it_is(store: KeyStore, content: str, message: str) -> None:
    store.path.parent.mkdir()
    store.path.write_text(content)
    calls: list[Callable[[], object]] = [
        store.list,
        lambda: store.create("a", pepper=PEPPER),
        lambda: store.revoke("a"),
    ]
    for call in calls:
        with pytest.raises(KeyStoreError, match=message):
            call()
    assert store.path.read_text() == content


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    with pytest.raises(KeyStoreError, match="cannot write in"):
        KeyStore(tmp_path / "state" / "keys.json").create("a", pepper=PEPPER)


def _create_ten(path: Path, prefix: str) -> None:
    for number in range(10):
        KeyStore(path).create(f"{prefix}{number}", pepper=PEPPER)


def test_processes_that_create_at_once_lose_no_key(store: KeyStore) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_create_ten, args=(store.path, prefix)) for prefix in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len({entry.key.name for entry in store.list()}) == 30
    assert sorted(entry.name for entry in store.path.parent.iterdir()) == ["keys.json", "keys.json.lock"]
