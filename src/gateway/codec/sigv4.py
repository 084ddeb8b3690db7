"""AWS Signature Version 4: shows who asks, by a signature of the request.

    canonical   POST \n path \n query \n name:value of each signed header \n \n names \n SHA-256 of the body
    to sign     AWS4-HMAC-SHA256 \n time \n date/region/service/aws4_request \n SHA-256 of the canonical request
    key         HMAC of "aws4_request" by that of the service by that of the region by that of the date by "AWS4" and the secret

A path is encoded once more than it stands in the request (for all services but S3). Signed are `content-type`, `host` and what is added here;
other headers may be changed on the way.

Source: AWS, "Create a signed AWS API request"; `botocore.auth.SigV4Auth`, which the tests hold it against.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import quote

import msgspec

CONTENT_TYPE = "application/json"
"""Of all that is signed here."""


class Credential(msgspec.Struct, frozen=True):
    """What AWS knows somebody by."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    """Of a credential for a time."""


class Signer:
    """Signs requests to one service.

    Args:
        credential: the one to be used now. It may be another at each call.
        host: as the requests name it.
    """

    def __init__(self, credential: Callable[[], Credential], region: str, service: str, host: str) -> None:
        self._credential = credential
        self._scope = f"{region}/{service}/aws4_request"
        self._steps = (region, service, "aws4_request")
        self._host = host
        self._key = b""
        self._key_of: tuple[str, Credential] | None = None
        """The day and the credential that `_key` was made for."""

    def sign(self, path: str, body: bytes, at_s: float) -> bytes:
        """The header lines that are added, each with its CRLF.

        Args:
            path: canonical, of `canonical_path`.
            at_s: Unix time; AWS takes what is at most five minutes off.
        """
        credential = self._credential()
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
        token = f"x-amz-security-token:{credential.session_token}\n" if credential.session_token else ""
        names = "content-type;host;x-amz-date;x-amz-security-token" if token else "content-type;host;x-amz-date"
        canonical = (
            f"POST\n{path}\n\ncontent-type:{CONTENT_TYPE}\nhost:{self._host}\nx-amz-date:{at}\n{token}"
            f"\n{names}\n{sha256(body).hexdigest()}"
        )
        scope = f"{at[:8]}/{self._scope}"
        to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_for(at[:8], credential), to_sign.encode(), "sha256").hex()
        lines = [
            f"x-amz-date: {at}\r\n",
            f"x-amz-security-token: {credential.session_token}\r\n" if token else "",
            f"authorization: AWS4-HMAC-SHA256 Credential={credential.access_key_id}/{scope}, SignedHeaders={names}, ",
            f"Signature={signature}\r\n",
        ]
        return "".join(lines).encode()

    def _key_for(self, day: str, credential: Credential) -> bytes:
        if self._key_of != (day, credential):
            key = f"AWS4{credential.secret_access_key}".encode()
            for step in (day, *self._steps):
                key = hmac.digest(key, step.encode(), "sha256")
            self._key, self._key_of = key, (day, credential)
        return self._key


def canonical_path(path: str) -> str:
    """The path of a request as it is signed.

    Args:
        path: as it stands in the request, percent-encoded, without a query.
    """
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    end = "/" if path.endswith("/") and kept else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


class PathSigning:
    """Signs the requests for one path; see `gateway.base.context.Signing`."""

    __slots__ = ("_path", "_signer")

    def __init__(self, signer: Signer, path: str) -> None:
        self._signer = signer
        self._path = canonical_path(path)

    def fields(self, body: bytes) -> bytes:
        return self._signer.sign(self._path, body, time.time())
