"""The kinds of providers, and what each answers in its own dialect.

Sources: API references of OpenAI ("Chat", "Completions", "Embeddings", "Responses", "Moderations", "Images", "Audio"), Cohere ("Rerank"),
Anthropic ("Messages", "Count Message tokens", "Versioning", "Claude on Vertex AI"), Google ("generateContent", "countTokens", "Embeddings"; the key
as `x-goog-api-key`; of Vertex AI "publishers.models"), Microsoft ("Azure OpenAI in Azure AI Foundry Models": the v1 API and dated versions),
Amazon ("Converse", "ConverseStream", "Amazon Bedrock API keys").
"""

from __future__ import annotations

from gateway.base.context import Kind, Operated
from gateway.base.snapshot import ProviderKind
from gateway.codec.dialects import anthropic, bedrock, gemini, openai_chat
from gateway.codec.framing import EVENT_STREAM

_OPENAI_PATHS = (
    ("chat", "/chat/completions"),
    ("completions", "/completions"),
    ("embeddings", "/embeddings"),
    ("responses", "/responses"),
    ("images", "/images/generations"),
    ("speech", "/audio/speech"),
)

_OPENAI_OPERATIONS = (Operated("embedding", "embeddings", openai_chat.EMBEDDINGS),)

KINDS: dict[ProviderKind, Kind] = {
    "openai": Kind(
        "openai",
        openai_chat.DIALECT,
        (*_OPENAI_PATHS, ("moderations", "/moderations"), ("rerank", "/rerank")),
        conversation="chat",
        operations=_OPENAI_OPERATIONS,
    ),
    "azure": Kind(
        "azure",
        openai_chat.DIALECT,
        _OPENAI_PATHS,
        versioned_paths=tuple(
            (name, f"/deployments/{{model}}{path}?api-version={{api_version}}")
            for name, path in _OPENAI_PATHS
            if name != "responses"
        ),
        conversation="chat",
        credential="api-key: {}",
        operations=_OPENAI_OPERATIONS,
    ),
    "anthropic": Kind(
        "anthropic",
        anthropic.DIALECT,
        (("messages", "/messages"), ("count_tokens", "/messages/count_tokens")),
        conversation="messages",
        must_be_bounded=True,
        credential="x-api-key: {}",
        fields=f"anthropic-version: {anthropic.WRITTEN_VERSION}\r\n".encode(),
    ),
    "gemini": Kind(
        "gemini",
        gemini.DIALECT,
        (
            ("generate", "/models/{model}:generateContent"),
            ("generate_stream", "/models/{model}:streamGenerateContent?alt=sse"),
            ("gemini_count_tokens", "/models/{model}:countTokens"),
            ("embed_content", "/models/{model}:embedContent"),
            ("batch_embed_contents", "/models/{model}:batchEmbedContents"),
        ),
        conversation="generate",
        conversation_stream="generate_stream",
        credential="x-goog-api-key: {}",
        operations=(Operated("embedding", "batch_embed_contents", gemini.BATCH_EMBED_CONTENTS),),
    ),
    "bedrock": Kind(
        "bedrock",
        bedrock.DIALECT,
        (("converse", "/model/{model}/converse"), ("converse_stream", "/model/{model}/converse-stream")),
        conversation="converse",
        conversation_stream="converse_stream",
        accept="*/*",
        framing=EVENT_STREAM,
        error_header=b"x-amzn-errortype",
    ),
    "vertex": Kind(
        "vertex",
        gemini.DIALECT,
        (
            ("generate", "/publishers/google/models/{model}:generateContent"),
            ("generate_stream", "/publishers/google/models/{model}:streamGenerateContent?alt=sse"),
            ("gemini_count_tokens", "/publishers/google/models/{model}:countTokens"),
        ),
        conversation="generate",
        conversation_stream="generate_stream",
        credential="x-goog-api-key: {}",
        fit=gemini.for_vertex,
    ),
    "vertex_anthropic": Kind(
        "vertex_anthropic",
        anthropic.DIALECT,
        (
            ("messages", "/publishers/anthropic/models/{model}:rawPredict"),
            ("messages_stream", "/publishers/anthropic/models/{model}:streamRawPredict"),
            ("count_tokens", "/publishers/anthropic/models/count-tokens:rawPredict"),
        ),
        conversation="messages",
        conversation_stream="messages_stream",
        must_be_bounded=True,
        fit=anthropic.for_vertex,
        keeps=frozenset({b"anthropic-version"}),  # its version stands in the body
    ),
}
