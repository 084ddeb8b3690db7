"""The providers whose models the registry knows: where they answer, and what each source calls them."""

from __future__ import annotations

import re

import msgspec


class Named(msgspec.Struct, frozen=True):
    """A provider. A source that has it not stands with ""."""

    hosts: str
    """Of its API, as a regular expression of the whole name."""
    litellm: tuple[str, ...] = ()
    """Its values of `litellm_provider`; a name of a model may begin with its provider's and a slash."""
    models_dev: str = ""
    genai_prices: str = ""
    tells_pdf: bool = False
    """Whose models take no PDF where the sources list none: elsewhere such a file may be turned into text on the way."""


PROVIDERS: dict[str, Named] = {
    "anthropic": Named(r"api\.anthropic\.com", ("anthropic",), "anthropic", "anthropic", tells_pdf=True),
    "bedrock": Named(
        r"bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com", ("bedrock", "bedrock_converse"), "amazon-bedrock", "aws"
    ),
    "cerebras": Named(r"api\.cerebras\.ai", ("cerebras",), "cerebras", "cerebras"),
    "cloudflare": Named(r"api\.cloudflare\.com", ("cloudflare",), "cloudflare-workers-ai", "cloudflare"),
    "cohere": Named(r"api\.cohere\.(ai|com)", ("cohere_chat", "cohere"), "cohere", "cohere"),
    "databricks": Named(
        r".+\.(cloud\.databricks\.com|azuredatabricks\.net|gcp\.databricks\.com)",
        ("databricks",),
        "databricks",
        "databricks",
    ),
    "deepseek": Named(r"api\.deepseek\.com", ("deepseek",), "deepseek", "deepseek"),
    "fireworks": Named(
        r"api\.fireworks\.ai", ("fireworks_ai", "fireworks_ai-embedding-models"), "fireworks-ai", "fireworks"
    ),
    "gemini": Named(r"generativelanguage\.googleapis\.com", ("gemini",), "google", "google", tells_pdf=True),
    "groq": Named(r"api\.groq\.com", ("groq",), "groq", "groq"),
    "huggingface": Named(r"router\.huggingface\.co", ("huggingface",), "huggingface"),
    "mistral": Named(r"api\.mistral\.ai", ("mistral",), "mistral", "mistral"),
    "nvidia": Named(r"integrate\.api\.nvidia\.com", ("nvidia_nim",), "nvidia"),
    "openai": Named(
        r"(us\.|eu\.)?api\.openai\.com",
        ("openai", "text-completion-openai"),
        "openai",
        "openai",
        tells_pdf=True,
    ),
    "openrouter": Named(r"(api\.)?openrouter\.ai", ("openrouter",), "openrouter", "openrouter"),
    "perplexity": Named(r"api\.perplexity\.ai", ("perplexity",), "perplexity", "perplexity"),
    "sambanova": Named(r"api\.sambanova\.ai", ("sambanova",)),
    "together": Named(r"api\.together\.(xyz|ai)", ("together_ai",), "togetherai", "together"),
    "vertex": Named(
        r"([a-z0-9-]+-)?aiplatform\.googleapis\.com",
        ("vertex_ai-language-models", "vertex_ai-embedding-models"),
        "google-vertex",
        "google",
    ),
    "xai": Named(r"(.+\.)?api\.x\.ai", ("xai",), "xai", "x-ai"),
}
"""Azure is not among them: there a model goes by the name that its deployment was given."""

_BY_HOST = [(re.compile(named.hosts), name) for name, named in PROVIDERS.items()]


def provider_at(host: str) -> str | None:
    """Whose host it is, as `urlsplit` gives it."""
    return next((name for pattern, name in _BY_HOST if pattern.fullmatch(host)), None)
