"""Where tokens of providers come from, as documented by those who issue them, and the key of a Google service account.

Sources: RFC 6749 (section 4.4, client credentials), RFC 7523 (assertions); Google, "Using OAuth 2.0 for Server to Server
Applications" and "Authenticate workloads with service accounts" (metadata server); Microsoft, "Microsoft identity platform and the
OAuth 2.0 client credentials flow" and "Use managed identities on a virtual machine to acquire access token".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.base.addresses import Reach, packed, reach
from gateway.base.snapshot import Auth, AuthKind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_KEY_FILE_BYTES = 65_536


class Issuer(NamedTuple):
    """What is documented of a kind of tokens."""

    endpoint: str
    """Base URL of whoever issues them; "" where the key says it."""
    scope: str
    metadata: tuple[str, ...] = ()
    """Addresses of a cloud's metadata, connected to for these tokens and for nothing else."""


_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
_ENTRA = "https://login.microsoftonline.com"

ISSUERS: dict[AuthKind, Issuer] = {
    "google_service_account": Issuer("", _GOOGLE_SCOPE),
    "google_metadata": Issuer(
        "http://metadata.google.internal", _GOOGLE_SCOPE, ("169.254.169.254/32", "fd20:ce::254/128")
    ),
    "entra_client_secret": Issuer(_ENTRA, _AZURE_SCOPE),
    "entra_managed_identity": Issuer("http://169.254.169.254", _AZURE_SCOPE, ("169.254.169.254/32",)),
    "entra_workload_identity": Issuer(_ENTRA, _AZURE_SCOPE),
}

IDENTITY_VARIABLES = {
    "tenant_id": "AZURE_TENANT_ID",
    "client_id": "AZURE_CLIENT_ID",
    "token_file": "AZURE_FEDERATED_TOKEN_FILE",
    "endpoint": "AZURE_AUTHORITY_HOST",
}
"""What Azure's workload identity webhook tells a pod, by the field of `Auth` that it stands for."""


def with_environment(auth: Auth, environ: Mapping[str, str]) -> Auth:
    """A workload identity, what it does not say taken from the environment.

    Raises:
        ValueError: that says nothing of it either, or an endpoint that no secret is sent to.
    """
    found = {
        name: environ[variable]
        for name, variable in IDENTITY_VARIABLES.items()
        if not getattr(auth, name) and environ.get(variable)
    }
    if "endpoint" in found:
        found["endpoint"] = check_endpoint(found["endpoint"].rstrip("/"), auth.kind)
    complete = msgspec.structs.replace(auth, **found)
    for name in ("tenant_id", "client_id", "token_file"):
        if not getattr(complete, name):
            raise ValueError(f"no `{name}`, and the environment variable {IDENTITY_VARIABLES[name]} is not set")
    return complete


def check_endpoint(url: str, kind: AuthKind) -> str:
    """The URL, if a secret may be sent there: https, or http that does not leave this machine or is the cloud's own metadata server.

    Raises:
        ValueError: it may not.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL; write https://HOST") from None
    if parts.scheme not in ("https", "http") or not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("is no URL of a token endpoint; write https://HOST, without user, query and fragment")
    if parts.scheme == "http" and not ISSUERS[kind].metadata and not _is_loopback(host):
        raise ValueError("http:// would send the secret in clear; write https://")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return reach(packed(host))[0] is Reach.LOOPBACK
    except ValueError:
        return host == "localhost"


class ServiceAccount(msgspec.Struct, frozen=True):
    """A key of a Google service account, as the console writes it into a file."""

    client_email: str
    private_key: str
    """PEM (PKCS #8)."""
    token_uri: str
    private_key_id: str = ""

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r}, ***)"

    def signer(self) -> RSAPrivateKey:
        """Raises ValueError: no RSA key."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - 30 ms, for who has such a key
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

        try:
            key = serialization.load_pem_private_key(self.private_key.encode(), password=None)
        except (ValueError, TypeError):
            raise ValueError("its `private_key` is no private key in PEM") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("its `private_key` is no RSA key")  # noqa: TRY004 - of a file, not of an argument
        return key


class _Type(msgspec.Struct):
    type: str = ""


def read_service_account(file: Path) -> ServiceAccount:
    """The key in a file; no message holds any of it.

    Raises:
        ValueError: the file cannot be read, or holds no key of a service account.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read the file {file}: {(error.strerror or 'unreadable').lower()}") from None
    if len(data) > MAX_KEY_FILE_BYTES:
        raise ValueError(f"the file {file} holds more than {MAX_KEY_FILE_BYTES:,} bytes: no key of a service account")
    try:
        of_type = msgspec.json.decode(data, type=_Type).type
        if of_type != "service_account":
            raise ValueError(f'the file {file} has no `"type": "service_account"`: no key of a service account')
        account = msgspec.json.decode(data, type=ServiceAccount)
    except msgspec.ValidationError as error:
        raise ValueError(f"the file {file} is no key of a service account: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError(f"the file {file} is not JSON: no key of a service account") from None
    try:
        check_endpoint(account.token_uri, "google_service_account")
    except ValueError as error:
        raise ValueError(f"the file {file}: its `token_uri` {error}") from None
    return account
