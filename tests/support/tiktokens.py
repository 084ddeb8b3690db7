"""tiktoken as the oracle of token counts, with the vocabularies out of the wheel that the build takes them from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken

from vocabularies.source import FILES, published

_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
"""Of the files that tiktoken would fetch; it looks for them in its cache by the SHA-1 of the address."""

Count = Callable[[str], int]


def oracles(cache: Path, names: tuple[str, ...]) -> dict[str, Count]:
    """tiktoken's count of each encoding. `cache`: an empty directory."""
    for name in FILES:
        (cache / hashlib.sha1(_ADDRESS.format(name).encode()).hexdigest()).write_bytes(published(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return {name: _count(tiktoken.get_encoding(name)) for name in names}


def _count(encoding: tiktoken.Encoding) -> Count:
    return lambda text: len(encoding.encode_ordinary(text))
