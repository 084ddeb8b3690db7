"""The governed endpoints, by the paths that callers ask for.

Google's stand under `/v1beta` and `/v1` and have the model and what is asked of it in their paths.
"""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import unquote

from gateway.base.context import Endpoint
from gateway.base.dialect import Errors
from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.codec.dialects import anthropic, cohere, gemini, openai_chat, openai_responses
from gateway.codec.dialects.openai_chat import native
from gateway.codec.dialects.openai_platform import images, moderations, speech
from gateway.codec.governing import read_governed, read_governed_embedding

_OPENAI = openai_chat.DIALECT
_CARRIED = ((b"anthropic-version", anthropic.WRITTEN_VERSION.encode()), (b"anthropic-beta", b""))

ENDPOINTS: dict[str, Endpoint] = {
    e.path: e
    for e in (
        Endpoint("chat", "/v1/chat/completions", native.read_chat, _OPENAI, native=True, translates=True),
        Endpoint("completions", "/v1/completions", native.read_completion, _OPENAI, native=True),
        Endpoint(
            "embeddings",
            "/v1/embeddings",
            native.read_embedding,
            _OPENAI,
            native=True,
            generates=False,
            translates=True,
            operation="embedding",
            codec=openai_chat.EMBEDDINGS,
        ),
        *(
            Endpoint(
                "rerank",
                path,
                cohere.read_rerank,
                _OPENAI,
                generates=False,
                errors=cohere.ERRORS,
                follow=cohere.follow_rerank,
            )
            for path in ("/v1/rerank", "/v2/rerank")
        ),
        Endpoint(
            "moderations",
            "/v1/moderations",
            moderations.read_moderation,
            _OPENAI,
            generates=False,
            follow=moderations.follow_moderation,
            rename=moderations.rename,
            free=True,
        ),
        Endpoint("images", "/v1/images/generations", images.read_generation, _OPENAI, follow=images.follow_generation),
        Endpoint("speech", "/v1/audio/speech", speech.read_speech, _OPENAI, follow=speech.follow_speech),
        Endpoint(
            "responses",
            "/v1/responses",
            partial(read_governed, openai_responses.DIALECT.read_request),
            openai_responses.DIALECT,
            translates=True,
            withheld=("background",),
            kept=True,
        ),
        Endpoint(
            "messages",
            "/v1/messages",
            partial(read_governed, anthropic.DIALECT.read_request),
            anthropic.DIALECT,
            translates=True,
            carried=_CARRIED,
        ),
        Endpoint(
            "count_tokens",
            "/v1/messages/count_tokens",
            partial(read_governed, anthropic.DIALECT.read_count_request),
            anthropic.DIALECT,
            generates=False,
            count=anthropic.DIALECT.write_count,
            carried=_CARRIED,
        ),
    )
}

_GEMINI_PATH = re.compile(
    r"/v1(?:beta)?/models/([^/:]+(?:/[^/:]+)*):"
    r"(generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)"
)
_EMBEDS: dict[str, tuple[str, gemini.EmbedContent | gemini.BatchEmbedContents]] = {
    "embedContent": ("embed_content", gemini.EMBED_CONTENT),
    "batchEmbedContents": ("batch_embed_contents", gemini.BATCH_EMBED_CONTENTS),
}


def find_endpoint(path: str, query: bytes) -> Endpoint | None:
    """The endpoint of a path that is not to the letter in ENDPOINTS; None where there is none.

    Raises:
        GatewayError: a stream is asked for that is none of server-sent events.
    """
    found = _GEMINI_PATH.fullmatch(path)
    if found is None:
        return None
    model, method = unquote(found[1]), found[2]
    if method == "countTokens":
        read = partial(read_governed, gemini.read_count_request, model=model, stream=False)
        return Endpoint(
            "gemini_count_tokens",
            path,
            read,
            gemini.DIALECT,
            generates=False,
            count=gemini.write_count,
            rename=gemini.rename_counted,
        )
    if method in _EMBEDS:
        name, codec = _EMBEDS[method]
        return Endpoint(
            name,
            path,
            partial(read_governed_embedding, codec.read_request, model=model),
            gemini.DIALECT,
            generates=False,
            translates=True,
            operation="embedding",
            codec=codec,
            rename=codec.rename,
        )
    stream = method == "streamGenerateContent"
    if stream and b"alt=sse" not in query.split(b"&"):
        raise GatewayError(
            INVALID_VALUE, "A stream is answered as server-sent events only; ask for it with `?alt=sse`.", param="alt"
        )
    read = partial(read_governed, gemini.DIALECT.read_request, model=model, stream=stream)
    return Endpoint("generate_stream" if stream else "generate", path, read, gemini.DIALECT, translates=True)


def errors_of(path: str) -> Errors:
    """In whose words an error is told, by the beginning of a path."""
    if path.startswith("/v1/messages"):
        return anthropic.DIALECT
    if path.startswith("/v1beta/"):
        return gemini.DIALECT
    return _OPENAI
