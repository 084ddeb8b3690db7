from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.base.private import is_loose, make_private


def mode(directory: Path) -> int:
    return stat.S_IMODE(directory.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_every_directory_that_was_missing_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(umask)
    try:
        make_private(tmp_path / "a" / "b" / "c")
        make_private(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [mode(tmp_path / each) for each in ("a", "a/b", "a/b/c")] == [0o700] * 3
    assert mode(tmp_path) == 0o755, "what was there stays as it is"


@pytest.mark.parametrize(
    ("bits", "loose"), [(0o700, False), (0o500, False), (0o2700, False), (0o701, True), (0o720, True), (0o755, True)]
)
def test_a_directory_is_loose_where_others_may_do_anything(tmp_path: Path, bits: int, loose: bool) -> None:
    tmp_path.chmod(bits)
    assert is_loose(tmp_path) is loose
    tmp_path.chmod(0o700)


def test_what_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="directory"):
        make_private(tmp_path / "file" / "below")
