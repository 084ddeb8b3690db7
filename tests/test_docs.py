"""The documentation is true: its commands exist, its links lead somewhere, its settings are accepted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "bench").glob("*.md")])
GROUPS = ("keys", "config")
COMMAND = re.compile(rf"throughway ((?:(?:{'|'.join(GROUPS)}) )?[a-z][a-z-]+)")


@pytest.fixture(scope="module")
def commands() -> set[str]:
    """All commands, as the help lists them."""

    def listed(*words: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        )
        return set(re.findall(r"^│ ([a-z-]+)  ", done.stdout, re.MULTILINE))

    return listed() | {f"{group} {name}" for group in GROUPS for name in listed(group)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page: Path, commands: set[str]) -> None:
    code = re.findall(r"`[^`\n]+`|^ {4}.+$|```(?:sh|bash)?\n.*?```", page.read_text(), re.MULTILINE | re.DOTALL)
    for command in {c for piece in code for c in COMMAND.findall(piece)}:
        assert command in commands, command


def test_the_configuration_of_the_readme_is_valid(tmp_path: Path) -> None:
    from gateway.control.config import load

    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "gateway.yaml"
    path.write_text(example)
    loaded = load(path, {"OPENAI_API_KEY": "sk-not-a-real-key"})
    assert [m.name for m in loaded.snapshot.models] == ["gpt-4o-mini"]
    assert loaded.snapshot.models[0].targets[0].price is not None


def test_the_targets_that_the_readme_names_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, target)
