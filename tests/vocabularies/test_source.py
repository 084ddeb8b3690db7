"""A vocabulary counts if it is the published one to the byte."""

from __future__ import annotations

import gzip
from importlib import metadata
from pathlib import Path

import pytest

from vocabularies import source


class Installed:
    """A distribution whose files lie in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def locate_file(self, path: str) -> Path:
        return self._directory / path


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a package that carries the vocabulary cl100k_base; the test writes it."""
    monkeypatch.setattr(source, "distribution", lambda name: Installed(tmp_path))
    path = tmp_path / "bpe_openai/data/cl100k_base.tiktoken.gz"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("name", source.FILES)
def test_the_published_files_are_found(name: str) -> None:
    tokens = source.read_tokens(source.published(name))
    assert len(set(tokens)) == len(tokens) == {"cl100k_base": 100_256, "o200k_base": 199_998}[name]
    assert tokens[0] == b"!"


def test_a_changed_file_is_refused_with_its_digest(carried: Path) -> None:
    carried.write_bytes(gzip.compress(b"IQ== 0\n"))
    with pytest.raises(
        source.VocabularyError, match=r"cl100k_base of bpe-openai is not the published one: its SHA-256 is [0-9a-f]{64}"
    ):
        source.published("cl100k_base")


def test_a_damaged_file_is_refused(carried: Path) -> None:
    carried.write_bytes(gzip.compress(b"IQ== 0\n")[:-4])
    with pytest.raises(source.VocabularyError, match="cl100k_base of bpe-openai is damaged"):
        source.published("cl100k_base")


def test_a_package_without_the_file_is_an_error(carried: Path) -> None:
    with pytest.raises(source.VocabularyError, match="bpe-openai does not carry cl100k_base"):
        source.published("cl100k_base")


def test_a_missing_package_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(source, "distribution", missing)
    with pytest.raises(source.VocabularyError, match="the build needs the package bpe-openai"):
        source.published("cl100k_base")
