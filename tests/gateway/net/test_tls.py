"""Certificates in files: what has changed is taken up whole, and what is broken changes nothing."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.base.certificates import explain, load_pair
from gateway.base.node import Tls
from gateway.base.snapshot import Provider
from gateway.net.tls import TlsFiles, provider_files, server_files
from tests.support.certificates import Authority, Certificate


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


def replace(path: str, content: bytes) -> None:
    """As certificate managers do: another file takes the name."""
    temporary = Path(path + ".new")
    temporary.write_bytes(content)
    temporary.replace(path)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    made = server_files(Tls(*authority.issue("localhost").write(tmp_path)))
    assert made is not None
    return made


def test_nothing_changes_while_the_files_do_not(files: TlsFiles) -> None:
    before = files.context
    assert [files.renew() for _ in range(3)] == [None] * 3
    assert files.context is before


def test_a_new_pair_makes_a_new_context(files: TlsFiles, authority: Authority) -> None:
    before, other = files.context, authority.issue("localhost")
    replace(files.files[0], other.pem)
    assert files.renew() is None, "the key may be about to follow"
    replace(files.files[1], other.key_pem)
    assert files.renew() == ""
    assert files.context is not before
    assert files.renew() is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no certificate", "no PEM certificate"),
        (b"", "no PEM certificate"),
        (None, "does not belong"),
    ],
)
def test_a_broken_pair_is_told_once_and_the_last_good_one_stays(
    files: TlsFiles, authority: Authority, content: bytes | None, said: str
) -> None:
    before = files.context
    good = Path(files.files[0]).read_bytes()
    replace(files.files[0], authority.issue("localhost").pem if content is None else content)
    assert files.renew() is None
    told = files.renew()
    assert told is not None and said in told
    assert [files.renew() for _ in range(3)] == [None] * 3
    assert files.context is before
    replace(files.files[0], good)
    assert files.renew() == ""


def test_a_file_that_vanishes_is_told_and_its_return_taken_up(files: TlsFiles) -> None:
    good = Path(files.files[1]).read_bytes()
    os.unlink(files.files[1])
    assert [files.renew(), files.renew(), files.renew()] == [None, "no such file or directory", None]
    replace(files.files[1], good)
    assert files.renew() == ""


def test_links_are_followed_as_secrets_of_kubernetes_need(authority: Authority, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        authority.issue("localhost").write(tmp_path / name)
    (tmp_path / "now").symlink_to("one")
    made = server_files(Tls(str(tmp_path / "now" / "server.pem"), str(tmp_path / "now" / "server.key")))
    assert made is not None
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "now")
    assert made.renew() == ""


def test_a_listener_asks_for_certificates_as_it_is_told(authority: Authority, tmp_path: Path) -> None:
    ca, pair = tmp_path / "ca.pem", authority.issue("localhost").write(tmp_path)
    ca.write_bytes(authority.pem)
    for tls, mode in (
        (Tls(*pair), ssl.CERT_NONE),
        (Tls(*pair, str(ca)), ssl.CERT_REQUIRED),
        (Tls(*pair, str(ca), "optional"), ssl.CERT_OPTIONAL),
    ):
        made = server_files(tls)
        assert made is not None and made.context.verify_mode is mode
        assert made.files == tuple(f for f in (tls.cert_file, tls.key_file, tls.client_ca_file) if f)
    assert server_files(None) is None


def test_a_providers_own_files_are_watched(authority: Authority, tmp_path: Path) -> None:
    ca, pair = tmp_path / "ca.pem", authority.issue("gateway").write(tmp_path)
    ca.write_bytes(authority.pem)
    assert provider_files(Provider("p", "openai", "https://x/v1")).files == ()
    made = provider_files(Provider("p", "openai", "https://x/v1", ca_file=str(ca), cert_file=pair[0], key_file=pair[1]))
    assert made.files == (str(ca), *pair)
    assert made.context.verify_mode is ssl.CERT_REQUIRED and made.context.check_hostname
    replace(str(ca), Authority("Another").pem)
    assert made.renew() == ""


def test_a_key_with_a_password_is_refused_instead_of_asking_the_terminal(authority: Authority, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    sealed = key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"password"))
    pair = Certificate(authority.issue("localhost").pem, sealed).write(tmp_path)
    with pytest.raises(ValueError, match="the key is encrypted") as refused:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *pair)
    assert "the key is encrypted" in explain(refused.value)
