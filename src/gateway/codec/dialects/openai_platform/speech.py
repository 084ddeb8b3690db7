"""Speech: what governs a request for it, and what its sound comes to.

Sources: OpenAI API reference, "Create speech", its stream's events, and the types of the official client
(`types/audio/speech_create_params`); "Text to speech" (pcm is 24 kHz of 16 bits); the price of a minute beside that of a token for
`gpt-4o-mini-tts`: some 20 tokens a second.

Sound comes as it is, and tells nothing of what it used: then it is counted by its size, as its format has bytes for a second.
"""

from __future__ import annotations

from functools import partial

import msgspec

from _fastpath.chat import MOST_TOKENS, Reading
from _fastpath.usage import Usage, charged
from gateway.base.context import Follows
from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.codec.metered import Metered, MeteredEvents
from gateway.codec.plain import Plain, note_texts, read_plain

_SIZES = {"pcm": 2_400, "wav": 2_400, "flac": 1_200, "mp3": 400, "aac": 200, "opus": 200}
"""Bytes of a token by format: of those that compress, at the lowest rates that are in use for speech."""
_DEFAULT = "mp3"
STREAMED_BYTES_A_TOKEN = 3_200
"""What a stream's base64 is taken for elsewhere, for a token of pcm."""
TOKENS_A_CHARACTER = 2
"""Of the sound, at most: ten characters a second are read slowly."""


class _Asked(Plain):
    input: str | None = None
    instructions: str | None = None
    response_format: str | None = None
    speed: float | None = None
    stream_format: str | None = None


class _Used(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Event(msgspec.Struct):
    type: str = ""
    audio: str = ""
    usage: _Used | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_asked_decoder = msgspec.json.Decoder(_Asked)
_event_decoder = msgspec.json.Decoder(_Event)


def read_speech(body: bytes) -> Reading:
    """What governs a request for speech; raises GatewayError."""
    reading, told = read_plain(_asked_decoder, body)
    if not told.input:
        raise GatewayError(INVALID_VALUE, "The body has no 'input'.", param="input")
    note_texts(reading, [told.input, told.instructions])
    reading.stream = told.stream_format == "sse"
    slowness = 1 / min(max(told.speed or 1.0, 0.25), 1.0)  # OpenAI takes no less
    reading.max_output_tokens = int(len(told.input) * TOKENS_A_CHARACTER * slowness) + 1
    return reading


def follow_speech(told: _Asked) -> Follows:
    """Reads the answer to such a request."""
    size = _SIZES.get(told.response_format or _DEFAULT, _SIZES[_DEFAULT])
    return Metered(partial(_Meter, size), partial(_Events, size) if told.stream_format == "sse" else None)


class _Meter:
    """Counts sound by its size."""

    def __init__(self, bytes_a_token: int) -> None:
        self._bytes_a_token = bytes_a_token
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)

    def usage(self, prompt: int, complete: bool) -> Usage:
        return charged(None, prompt, 0, -(-self._size // self._bytes_a_token), complete)


class _Events(MeteredEvents):
    """A stream: sound in base64, and at its end what was used."""

    def __init__(self, bytes_a_token: int) -> None:
        super().__init__(_event_decoder)
        self._bytes_a_token = bytes_a_token

    def note(self, event: _Event, data: bytes) -> None:
        if event.audio:
            self.content_events += 1
            self.media_bytes += len(event.audio) * 3 // 4 * STREAMED_BYTES_A_TOKEN // self._bytes_a_token
            self.usage_is_last = False
        if event.type == "error" or bytes(event.error) != b"null":
            self.error = data[:2_000]
        elif event.type == "speech.audio.done":
            self.terminal = self.usage_is_last = True
            self.told = _usage_of(event.usage)


def _usage_of(told: _Used | None) -> Usage | None:
    if told is None or not (0 <= told.input_tokens <= MOST_TOKENS and 0 < told.output_tokens <= MOST_TOKENS):
        return None
    return Usage(told.input_tokens, told.output_tokens, output_audio=told.output_tokens)
