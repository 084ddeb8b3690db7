"""Whose request it is: the caller's key, found by its HMAC under the node's pepper."""

from __future__ import annotations

import hmac
import os
import time

from _fastpath.digest import Digester
from gateway.base.context import NEVER_S, Context
from gateway.base.errors import INVALID_KEY, KEY_EXPIRED, GatewayError

MAX_SECRET_BYTES = 512

_HOW = "Send it as `Authorization: Bearer KEY`, `x-api-key`, `api-key` or `x-goog-api-key`."


class Authenticator:
    """Finds the key of a request.

    A secret that was seen before is found by a digest under a key of this process, and one look-up in a table of digests tells
    nothing of the secrets by its timing; a new one costs an HMAC. Unknown secrets are not remembered.
    """

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._digest = Digester(os.urandom(16)).digest

    def derived(self, purpose: bytes) -> bytes:
        """A secret for something else that all nodes of one pepper share."""
        return hmac.digest(self._pepper, purpose, "sha256")

    def authenticate(self, ctx: Context) -> None:
        """Sets `ctx.key`. Raises GatewayError (401)."""
        secret = ctx.exchange.credential()
        if not secret:
            what = "No API key was sent." if secret is None else "The credentials are not one bearer key."
            raise GatewayError(INVALID_KEY, f"{what} {_HOW}")
        if len(secret) > MAX_SECRET_BYTES:
            raise GatewayError(INVALID_KEY, f"The API key is longer than {MAX_SECRET_BYTES} bytes.")
        digest = self._digest(secret)
        compiled = ctx.compiled
        entry = compiled.keys_seen.get(digest)
        if entry is None:
            entry = compiled.key_by_hmac.get(hmac.digest(self._pepper, secret, "sha256").hex())
            if entry is None:
                raise GatewayError(INVALID_KEY, "The API key is unknown or was revoked.")
            compiled.keys_seen[digest] = entry
        if entry.expires_at_s != NEVER_S and time.time() >= entry.expires_at_s:
            raise GatewayError(KEY_EXPIRED, "The API key has expired.")
        ctx.key = entry
