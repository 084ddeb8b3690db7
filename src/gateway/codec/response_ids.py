"""Responses that a provider keeps: whose they are, and where.

A gateway has one account with a provider, and what is kept there is found by its id alone, whoever asks. So callers never see an id as the
provider made it: what they see carries a tag, an HMAC under a key of the node's pepper over who owns it, which provider has it, and the
id. It is put in where an answer passes and taken out where the id comes back, and needs no table: every node of a fleet reads what another wrote.

    resp_0123 of the provider  <->  resp_0123_tw4J9...22 digits of the caller

In an answer the provider's id is any JSON string that equals it; what an earlier response is called stands behind `previous_response_id`. An
id within a text is not one: there its quotes are escaped.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Literal

import msgspec

from _fastpath.sse import EventFollower
from _fastpath.usage import Usage
from gateway.base.context import KeyEntry
from gateway.base.dialect import Dialect, ProviderDialect
from gateway.base.messages import Began, Ended, Event, Failed, Request
from gateway.codec.framing import MAX_EVENT_BYTES, SERVER_SENT
from gateway.codec.translation import AnswerScanner, Follows, Whole

MAX_ID_CHARS = 256
"""Of a provider's id; a longer one is shown as it is, and is nobody's."""
_TAG_DIGITS = 22
"""Of base64: 128 bits."""
_TAG = re.compile(r"(.+)_tw([A-Za-z0-9_-]{22})")
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
"""What stands in JSON, and in a path, as it is."""
_PREVIOUS_KEY = b'"previous_response_id"'
_PREVIOUS = re.compile(rb'("previous_response_id"\s*:\s*")([A-Za-z0-9._-]+)"')


class ResponseIds:
    """`gateway.base.context.ResponseIds`.

    Args:
        secret: the same on all nodes of a fleet.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def shown(self, response_id: str, owner: str, provider: str) -> str:
        """As the owner sees it."""
        return f"{response_id}_tw{self._tag(response_id, owner, provider)}"

    def taken(self, shown: str, owner: str, providers: Iterable[str]) -> tuple[str, str] | None:
        """(the provider's own id, the provider) of what the owner sends back; None where it has no such response."""
        found = _TAG.fullmatch(shown)
        if found is None or not _is_plain(found[1]):
            return None
        for provider in providers:
            if hmac.compare_digest(self._tag(found[1], owner, provider), found[2]):
                return found[1], provider
        return None

    def _tag(self, response_id: str, owner: str, provider: str) -> str:
        digest = hmac.digest(self._secret, f"{owner}\0{provider}\0{response_id}".encode(), "sha256")
        return urlsafe_b64encode(digest[:16])[:_TAG_DIGITS].decode()


def owner_of(key: KeyEntry) -> str:
    """Whose a response is: the team's, so that its keys may take turns, else the key's."""
    return f"team/{key.team}" if key.team else f"key/{key.key.id}"


def _is_plain(response_id: str) -> bool:
    return len(response_id) <= MAX_ID_CHARS and _PLAIN.fullmatch(response_id) is not None


class Tagging:
    """Puts the tags of one owner and provider into what passes."""

    def __init__(self, ids: ResponseIds, owner: str, provider: str) -> None:
        self._ids = ids
        self._owner = owner
        self._provider = provider

    def edit(self, response_id: str) -> tuple[bytes, bytes]:
        """A response's id as a JSON string, and what stands there instead; twice the same where it is none that could be asked for."""
        own = b'"%b"' % response_id.encode()
        return own, b'"%b"' % self._shown(response_id) if _is_plain(response_id) else own

    def tagged(self, data: bytes, edit: tuple[bytes, bytes]) -> bytes:
        """`data`, whole JSON or whole events of it, with the ids of a response and of earlier ones as the owner sees them."""
        if edit[0] in data:
            data = data.replace(*edit)
        if _PREVIOUS_KEY in data:
            data = _PREVIOUS.sub(self._previous, data)
        return data

    def _previous(self, found: re.Match[bytes]) -> bytes:
        return b'%b%b"' % (found[1], self._shown(found[2].decode()))

    def _shown(self, response_id: str) -> bytes:
        return self._ids.shown(response_id, self._owner, self._provider).encode()


class _Named(msgspec.Struct):
    id: str = ""


class _Event(msgspec.Struct):
    response: _Named | None = None


_event_decoder = msgspec.json.Decoder(_Event)


class TaggingScanner(AnswerScanner):
    """Of a stream that makes a response: its first event tells the id."""

    def __init__(self, provider: ProviderDialect, tagging: Tagging) -> None:
        super().__init__(SERVER_SENT.begin(), provider.stream_reader(), None, Began("", ""))
        self._tagging = tagging
        self._edit: tuple[bytes, bytes] | None = None

    def feed(self, data: bytes) -> bytes:
        return self._tagged(AnswerScanner.feed(self, data))

    def finish(self) -> bytes:
        return self._tagged(AnswerScanner.finish(self))

    def _tagged(self, out: bytes) -> bytes:
        edit = self._edit
        if edit is None and out:
            edit = self._edit = self._found(out)
        return self._tagging.tagged(out, edit) if edit is not None and (edit[0] in out or _PREVIOUS_KEY in out) else out

    def _found(self, events: bytes) -> tuple[bytes, bytes] | None:
        """What the first of the events that has a response says of it."""
        for _, payload in EventFollower(MAX_EVENT_BYTES).follow(events):
            try:
                response = _event_decoder.decode(payload).response
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                continue  # the dialect's reader says what is wrong with it
            if response is not None and response.id:
                return self._tagging.edit(response.id)
        return None


class TaggingFollows(Follows):
    """`gateway.base.context.Follows` of a request that makes a response which its provider keeps."""

    __slots__ = ("_tagging",)

    def __init__(self, dialect: Dialect, request: Request, tagging: Tagging) -> None:
        super().__init__(dialect, None, request)
        self._tagging = tagging

    def answer(self, body: bytes) -> Whole:
        answer = self._provider.read_answer(body)
        return self._whole(answer, self._tagging.tagged(body, self._tagging.edit(answer.id)))

    def scanner(self) -> TaggingScanner:
        return TaggingScanner(self._provider, self._tagging)


class _KeptScanner(TaggingScanner):
    """Of a response that is told once more: nothing of it is produced anew."""

    def __init__(self, provider: Dialect, tagging: Tagging, response_id: str) -> None:
        super().__init__(provider, tagging)
        self._edit = tagging.edit(response_id)

    def _note(self, event: Event) -> None:
        if isinstance(event, Ended | Failed):
            super()._note(event)


class KeptFollows:
    """`gateway.base.context.ReadFollows` of a request for what is kept of a response."""

    passes: Literal[False] = False

    def __init__(self, dialect: Dialect, tagging: Tagging, response_id: str) -> None:
        self._dialect = dialect
        self._tagging = tagging
        self._response_id = response_id

    @property
    def stream_type(self) -> bytes:
        return SERVER_SENT.content_type

    def answer(self, body: bytes) -> Whole:
        return Whole(self._tagging.tagged(body, self._tagging.edit(self._response_id)), Usage(), "", 0, 0)

    def scanner(self) -> TaggingScanner:
        return _KeptScanner(self._dialect, self._tagging, self._response_id)
