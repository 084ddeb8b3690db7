"""Tokens of Google: for the key of a service account, or of the metadata server of the machine or pod that this runs on.

Sources: Google, "Using OAuth 2.0 for Server to Server Applications" (the assertion: RFC 7523 section 2.1, RS256, at most an hour) and
"Authenticate workloads with service accounts" (the metadata server: GET .../default/token with `Metadata-Flavor: Google`).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from gateway.adapters._token_answers import read_token
from gateway.base.credentials import ISSUERS, ServiceAccount, read_service_account
from gateway.base.ports import Token, TokenError, TokenRequest
from gateway.base.snapshot import Auth

ASSERTION_S = 3_600
"""How long an assertion is good for; Google takes no longer one."""
FORM = (("content-type", "application/x-www-form-urlencoded"),)
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


class ServiceAccountTokens:
    """For the key in a file, which is read anew each time: a key that was replaced counts from the next token on."""

    metadata: tuple[str, ...] = ()

    def __init__(self, auth: Auth, clock: Callable[[], float] = time.time) -> None:
        self._file = Path(auth.key_file)
        self._scope = auth.scope or ISSUERS[auth.kind].scope
        self._clock = clock

    def request(self) -> TokenRequest:
        try:
            account = read_service_account(self._file)
            assertion = _assertion(account, self._scope, int(self._clock()))
        except ValueError as error:
            raise TokenError(str(error)) from None
        body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        return TokenRequest("POST", account.token_uri, FORM, body)

    def token(self, status: int, body: bytes) -> Token:
        return read_token(status, body)


def _assertion(account: ServiceAccount, scope: str, now_s: int) -> str:
    """A JWT (RFC 7519) signed with RS256. Raises ValueError: the account has no RSA key."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - for who has such a key
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": account.private_key_id} if account.private_key_id else {})
    claims = {
        "iss": account.client_email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": now_s,
        "exp": now_s + ASSERTION_S,
    }
    signed = b".".join(_base64(msgspec.json.encode(part)) for part in (header, claims))
    signature = account.signer().sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _base64(signature)).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class MetadataTokens:
    """Of the service account that the machine or the pod runs as."""

    def __init__(self, auth: Auth) -> None:
        issuer = ISSUERS[auth.kind]
        self.metadata = issuer.metadata
        scopes = (
            f"?scopes={quote(auth.scope.replace(' ', ','), safe=',')}" if auth.scope else ""
        )  # else the account's own
        url = f"{auth.endpoint or issuer.endpoint}{_METADATA_PATH}{scopes}"
        self._request = TokenRequest("GET", url, (("metadata-flavor", "Google"),))

    def request(self) -> TokenRequest:
        return self._request

    def token(self, status: int, body: bytes) -> Token:
        return read_token(status, body)
