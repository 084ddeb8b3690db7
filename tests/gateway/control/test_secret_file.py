"""A secret's file: made once, whole, for its owner alone."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from gateway.control._secret_file import make_secret_file


def test_it_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "secret"
    assert make_secret_file(file, lambda: "first")
    assert not make_secret_file(file, lambda: pytest.fail("another secret was made"))
    assert file.read_text() == "first\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_of_many_at_once_all_read_the_same(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    start = threading.Barrier(8)
    made: list[bool] = []
    read: list[str] = []

    def one(number: int) -> None:
        def secret() -> str:
            start.wait(10)  # all have found no file
            return f"secret {number}"

        made.append(make_secret_file(file, secret))
        read.append(file.read_text())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert len(set(read)) == 1 and read[0].startswith("secret ")
    assert list(tmp_path.iterdir()) == [file]


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    with pytest.raises(OSError):
        make_secret_file(tmp_path / "state" / "secret", lambda: "x")
