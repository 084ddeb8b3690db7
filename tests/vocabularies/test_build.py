"""The file of vocabularies is made when it has to be, and replaced as a whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vocabularies import build


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written instead of the tables, which take seconds to make; one more each time."""
    made: list[bytes] = []

    def content() -> bytes:
        made.append(build.MAGIC + (48).to_bytes(8, "little") + build.inputs_digest())
        return made[-1]

    monkeypatch.setattr(build, "content", content)
    return made


def test_the_installed_file_is_current() -> None:
    spec = importlib.util.find_spec("_fastpath.tokens")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).with_name(build.FILE_NAME)
    assert build.is_current(path)
    assert path.stat().st_size < 15_000_000


def test_a_file_is_made_once(tmp_path: Path, made: list[bytes]) -> None:
    path = tmp_path / build.FILE_NAME
    for _ in range(2):
        build.build(path)
    assert len(made) == 1
    assert path.read_bytes() == made[0]
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "old", [b"", b"TWVOCAB1", b"TWVOCAB0" + bytes(40), build.MAGIC + (48).to_bytes(8, "little") + bytes(32)],
    ids=["empty", "cut", "another layout", "of other sources"],
)  # fmt: skip
def test_a_file_that_is_not_current_is_replaced(tmp_path: Path, made: list[bytes], old: bytes) -> None:
    path = tmp_path / build.FILE_NAME
    path.write_bytes(old)
    with path.open("rb") as mapped:
        build.build(path)
        assert mapped.read() == old  # who has it open keeps it
    assert path.read_bytes() == made[0]
