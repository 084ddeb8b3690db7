from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.base.files import is_loose, make_private, replace_private, signature


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


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_as_a_whole_and_its_owners_alone(tmp_path: Path, durable: bool) -> None:
    file = tmp_path / "state" / "file"
    replace_private(file, b"old", durable=durable)
    file.chmod(0o644)
    with file.open("rb") as opened_before:
        replace_private(file, b"new", durable=durable)
        assert opened_before.read() == b"old"
    assert file.read_bytes() == b"new"
    assert [mode(each) for each in (file.parent, file)] == [0o700, 0o600]
    assert [each.name for each in file.parent.iterdir()] == ["file"], "nothing is left beside it"


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        replace_private(tmp_path / "file", b"new")
    assert (tmp_path / "file").is_dir()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_signature_changes_with_the_content_and_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert signature(file) is None
    file.write_bytes(b"a")
    seen = [signature(file)]
    assert signature(file) == seen[0]
    file.write_bytes(b"ab")
    seen.append(signature(file))
    (tmp_path / "other").write_bytes(b"ab")
    (tmp_path / "other").replace(file)
    seen.append(signature(file))
    assert None not in seen and len(set(seen)) == 3
