"""Issuers of tokens, on loopback: Google's token endpoint and metadata server, Microsoft's Entra and managed identities.

They check what they are asked as the real ones do, the assertions with google-auth, and issue tokens that live as long as a test says. What
has been issued is known by `is_valid`, so that a provider can say whether it was ever shown a token that had expired.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

Mode = Literal["issue", "refuse", "hang", "garbage", "endless", "drip", "dead token", "echo"]
TENANT, CLIENT = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
CLIENT_SECRET = "cAnArY~8Q_client.secret-of-the-tests~0123"
POD_ASSERTION = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwb2QifQ.Y2FuYXJ5LW9mLXRoZS1wb2Q"
EMAIL = "throughway@project.iam.gserviceaccount.com"
SCOPE_OF_AZURE = "https://cognitiveservices.azure.com/.default"
SCOPE_OF_GOOGLE = "https://www.googleapis.com/auth/cloud-platform"


class TokenServer:
    """Use it as a context manager."""

    def __init__(self) -> None:
        self.life_s = 3_600.0
        self.mode: Mode = "issue"
        self.asked: list[str] = []
        """Paths of what was asked, in order."""
        self.faults: list[str] = []
        """What was wrong with it."""
        self.issued: dict[str, float] = {}
        """Tokens, and when each ends (monotonic seconds)."""
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._ended = threading.Event()

    def __enter__(self) -> TokenServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def is_valid(self, token: str) -> bool:
        return time.monotonic() < self.issued.get(token, 0.0)

    def write_key(self, file: Path, **other: Any) -> Path:
        """The key of a service account, as Google's console writes it; other fields take the place of its own."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fields = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "key-1",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": f"{self.url}/token",
            "universe_domain": "googleapis.com",
        }
        file.write_text(json.dumps(fields | other, indent=2))
        return file

    def private_parts(self) -> list[str]:
        """Lines of the key that must show up nowhere."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem.decode().splitlines()[1:-1]

    # -- what is checked

    def _fault_of(self, method: str, path: str, query: dict[str, str], form: dict[str, str], headers: Any) -> str:
        """What is wrong with a request; "" where nothing is."""
        if (method, path) == ("POST", "/token"):
            return self._fault_of_assertion(form)
        if (method, path) == ("GET", "/computeMetadata/v1/instance/service-accounts/default/token"):
            return "" if headers["metadata-flavor"] == "Google" else "Metadata-Flavor is missing"
        if (method, path) == ("GET", "/metadata/identity/oauth2/token"):
            wanted = {"api-version": "2018-02-01", "resource": SCOPE_OF_AZURE.removesuffix("/.default")}
            if headers["metadata"] != "true" or query | {"client_id": CLIENT} != wanted | {"client_id": CLIENT}:
                return f"wrong query {query}"
            return ""
        if (method, path) == ("POST", f"/{TENANT}/oauth2/v2.0/token"):
            wanted = {"grant_type": "client_credentials", "client_id": CLIENT, "scope": SCOPE_OF_AZURE}
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            proofs: list[dict[str, str]] = [
                {"client_secret": CLIENT_SECRET},
                {"client_assertion_type": kind, "client_assertion": POD_ASSERTION},
            ]
            return "" if any(form == wanted | proof for proof in proofs) else f"wrong form with {sorted(form)}"
        return f"nothing is at {method} {path}"

    def _fault_of_assertion(self, form: dict[str, str]) -> str:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return "wrong grant_type"
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        try:
            claims: dict[str, Any] = jwt.decode(  # type: ignore[no-untyped-call]
                form["assertion"], certs={"key-1": public.decode()}, audience=f"{self.url}/token"
            )
        except ValueError as error:  # the signature, the audience, or when it was made and ends
            return f"assertion refused: {error}"
        if (claims["iss"], claims["scope"]) != (EMAIL, SCOPE_OF_GOOGLE) or claims["exp"] - claims["iat"] > 3_600:
            return "wrong claims"
        return ""

    # -- what is answered

    def _answer(self, handler: BaseHTTPRequestHandler, sent: str, fault: str, *, textual: bool) -> None:
        mode = self.mode
        if fault:
            self.faults.append(fault)
            self._send(handler, 400, {"error": "invalid_request", "error_description": fault})
        elif mode == "refuse":
            said = "AADSTS7000215: Invalid client secret provided. Trace ID: 0a1b2c3d-0000-0000-0000-5e6f7a8b9c0d"
            self._send(handler, 401, {"error": "invalid_client", "error_description": said})
        elif mode == "echo":
            self._send(handler, 400, {"error": "invalid_grant", "error_description": f"what was sent is {sent}"})
        elif mode == "hang":
            self._ended.wait(30)
        elif mode == "garbage":
            self._send(handler, 200, [1, {"access_token": 7}])
        elif mode in ("endless", "drip"):
            self._send_without_end(handler, 0.2 if mode == "drip" else 0.0)
        else:
            life_s = self.life_s if mode == "issue" else -5
            token = f"ya29.canary-{secrets.token_urlsafe(24)}"
            self.issued[token] = time.monotonic() + life_s
            told: int | float | str = str(int(life_s)) if textual else life_s
            self._send(handler, 200, {"access_token": token, "token_type": "Bearer", "expires_in": told})

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _send_without_end(self, handler: BaseHTTPRequestHandler, pause_s: float) -> None:
        handler.send_response(200)
        handler.send_header("connection", "close")
        handler.end_headers()
        part = b" " * (1 if pause_s else 16_384)
        with contextlib.suppress(OSError):
            while not self._ended.wait(pause_s):
                handler.wfile.write(part)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def _answer(self, method: str) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                url = urlsplit(self.path)
                query = {name: value[-1] for name, value in parse_qs(url.query).items()}
                form = {name: value[-1] for name, value in parse_qs(sent).items()}
                server.asked.append(url.path)
                fault = server._fault_of(method, url.path, query, form, self.headers)
                server._answer(self, sent, fault, textual=url.path.startswith("/metadata/"))
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Nothing: the tests look at `asked`."""

        return Handler


@contextlib.contextmanager
def token_server() -> Iterator[TokenServer]:
    """One that a test ends, and that was never asked wrongly."""
    with TokenServer() as server:
        yield server
    assert not server.faults, server.faults
