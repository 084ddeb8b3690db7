"""Tokens of Microsoft Entra: for a client's secret, for the identity of a machine, or for that of a pod.

Sources: Microsoft, "Microsoft identity platform and the OAuth 2.0 client credentials flow" (first and third case: shared secret, federated
credential), "How to use managed identities for Azure resources on an Azure VM to acquire an access token", "Microsoft Entra Workload ID".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from gateway.adapters._token_answers import read_token
from gateway.adapters.google_tokens import FORM
from gateway.base.credentials import ISSUERS, with_environment
from gateway.base.ports import Token, TokenError, TokenRequest
from gateway.base.snapshot import Auth

MAX_ASSERTION_BYTES = 16_384
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_IDENTITY_PATH = "/metadata/identity/oauth2/token"
_IDENTITY_VERSION = "2018-02-01"


class _ClientTokens:
    """Of a registered application. What it shows of itself is looked up anew each time."""

    metadata: tuple[str, ...] = ()

    def token(self, status: int, body: bytes) -> Token:
        return read_token(status, body)


class ClientSecretTokens(_ClientTokens):
    """Args: resolve: the secret behind a reference; raises ValueError."""

    def __init__(self, auth: Auth, resolve: Callable[[str], str]) -> None:
        self._auth = auth
        self._resolve = resolve

    def request(self) -> TokenRequest:
        assert self._auth.client_secret is not None
        try:
            secret = self._resolve(self._auth.client_secret)
        except ValueError as error:
            raise TokenError(str(error)) from None
        return _client_request(self._auth, {"client_secret": secret})


class WorkloadIdentityTokens(_ClientTokens):
    """Args: environ: where the identity is described as far as `auth` does not."""

    def __init__(self, auth: Auth, environ: Mapping[str, str]) -> None:
        self._auth = auth
        self._environ = environ

    def request(self) -> TokenRequest:
        try:
            auth = with_environment(self._auth, self._environ)
        except ValueError as error:
            raise TokenError(str(error)) from None
        assertion = _read_assertion(Path(auth.token_file))
        return _client_request(auth, {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion})


def _client_request(auth: Auth, shown: dict[str, str]) -> TokenRequest:
    issuer = ISSUERS[auth.kind]
    form = {
        "grant_type": "client_credentials",
        "client_id": auth.client_id,
        "scope": auth.scope or issuer.scope,
        **shown,
    }
    url = f"{auth.endpoint or issuer.endpoint}/{quote(auth.tenant_id, safe='')}/oauth2/v2.0/token"
    return TokenRequest("POST", url, FORM, urlencode(form).encode())


def _read_assertion(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_ASSERTION_BYTES + 1)
    except OSError as error:
        raise TokenError(f"cannot read the file {file}: {(error.strerror or 'unreadable').lower()}") from None
    assertion = data.strip()
    if not assertion or len(data) > MAX_ASSERTION_BYTES or not assertion.isascii():
        raise TokenError(f"the file {file} holds no token of 1 to {MAX_ASSERTION_BYTES:,} ASCII characters")
    return assertion.decode()


class ManagedIdentityTokens:
    """Of the identity that the machine has; `client_id` says which, where it has several."""

    def __init__(self, auth: Auth) -> None:
        issuer = ISSUERS[auth.kind]
        self.metadata = issuer.metadata
        query = {
            "api-version": _IDENTITY_VERSION,
            "resource": (auth.scope or issuer.scope).removesuffix("/.default"),
        } | ({"client_id": auth.client_id} if auth.client_id else {})
        url = f"{auth.endpoint or issuer.endpoint}{_IDENTITY_PATH}?{urlencode(query)}"
        self._request = TokenRequest("GET", url, (("metadata", "true"),))

    def request(self) -> TokenRequest:
        return self._request

    def token(self, status: int, body: bytes) -> Token:
        return read_token(status, body)
