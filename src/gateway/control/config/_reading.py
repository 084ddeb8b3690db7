"""What one reading of a configuration gathers: problems, where each value stands, the files that it depends on."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from gateway.base.errors import ConfigurationError, Problem
from gateway.base.files import Signature, signature
from gateway.control.config._yaml import MAX_BYTES, Mark

MAX_PROBLEMS = 1_000
"""Of one kind; past it a file is not a configuration with mistakes but something else."""
MAX_NEAREST = 100
"""Problems for which the nearest known name is sought: the search is quadratic."""

Path_ = tuple[str | int, ...]
"""Where a value stands in the tree, such as ("models", "gpt-4.1", "targets", 0)."""


def dotted(path: Path_) -> str:
    """`models.gpt-4.1.targets[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


class Reading:
    """One reading of one file.

    Args:
        file: the configuration; paths in it are relative to its directory.
        environ: where `env:NAME` looks.
        serving: whether an earlier reading is in force, which a file that is being written must not wipe out.
        needed: the sections whose secrets must be here; those of others are only missed, with a warning. None: all.
    """

    def __init__(
        self, file: Path, environ: Mapping[str, str], *, serving: bool = False, needed: Collection[str] | None = None
    ) -> None:
        self.file = file
        self.serving = serving
        self.needed = needed
        self.directory = Path(os.path.abspath(file.parent))  # noqa: PTH100 (resolve() would follow links, absolute() keep `..`)
        self.environ = environ
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.marks: dict[Path_, Mark] = {}
        self.references: list[tuple[Path_, str, str]] = []
        """(where, section, name): each must be a name of the section."""
        self.watched: dict[Path, Signature] = {}

    # -- problems

    def error(self, path: Path_, message: str, mark: Mark | None = None) -> None:
        self._add(self.problems, path, message, mark)

    def warn(self, path: Path_, message: str) -> None:
        self._add(self.warnings, path, message, None)

    def _add(self, problems: list[Problem], path: Path_, message: str, mark: Mark | None) -> None:
        if len(problems) < MAX_PROBLEMS:
            line, column = mark or self.mark(path)
            problems.append(Problem(str(self.file), line, column, printable(dotted(path)), printable(message)))

    def mark(self, path: Path_) -> Mark:
        """Where a value stands; where it is missing, what should hold it."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(1, 1))

    def suggestion(self, name: str, known: Collection[str]) -> str:
        """`; did you mean "x"?`, or nothing."""
        if len(self.problems) >= MAX_NEAREST:
            return ""
        from difflib import get_close_matches  # noqa: PLC0415 (3 ms, only for a faulty file)

        close = get_close_matches(name, known, 1)
        return f'; did you mean "{close[0]}"?' if close else ""

    def raise_if_faulty(self) -> None:
        """Raises ConfigurationError with every problem, in the order of the file."""
        if self.problems:
            raise ConfigurationError(in_order(self.problems))

    # -- secrets and files

    def needs(self, path: Path_) -> bool:
        """Whether a secret must be here, or will do elsewhere."""
        return self.needed is None or path[0] in self.needed

    def path(self, text: str) -> Path:
        """A path of the configuration, absolute. Raises ValueError where it begins with `~NAME` and nobody has that name."""
        try:
            return Path(os.path.normpath(self.directory / Path(text).expanduser()))
        except RuntimeError:
            user = text.partition("/")[0][1:]
            raise ValueError(
                f'begins with the home of "{user}", and there is no such user; write the path itself'
            ) from None

    def content(self, file: Path, limit: int = MAX_BYTES) -> bytes:
        """A file's bytes, watched from now on.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds more than `limit` bytes.
        """
        self.watch(file)
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"larger than {limit:,} bytes")
        return data

    def watch(self, file: Path) -> None:
        """Notes the file's signature: called before it is read, so that no later change is missed."""
        self.watched.setdefault(file, signature(file))


def in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def printable(text: str) -> str:
    """One line for a terminal: what a hostile file could hide in a name is escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def why(error: OSError) -> str:
    """`no such file`, `permission denied`: the cause in words."""
    return (error.strerror or type(error).__name__).lower()
