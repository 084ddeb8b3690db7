"""What the mock provider plays: a file (TOML or YAML), options of the command line, or both.

A number may be drawn wherever a duration or a size stands: `20`, `uniform:10,30`, `exponential:20` (its mean),
`lognormal:20,80` (its median and 99th percentile).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from bench.errors import BenchError, keyed
from bench.native.draw import Draw

Number = float | str
"""A number, or a distribution of them."""
Kind = Literal["error", "error_event", "stall", "reset", "close", "truncate"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

MAX_TEXT_BYTES: Final = 8_000_000
"""Of an answer: it is prepared in memory, with events of some 200 bytes shared among equal tokens."""

_DISTRIBUTIONS: Final[dict[str, tuple[Literal["fixed", "uniform", "exponential", "lognormal"], int]]] = {
    "fixed": ("fixed", 1),
    "uniform": ("uniform", 2),
    "exponential": ("exponential", 1),
    "lognormal": ("lognormal", 2),
}
_FORMS: Final = "a number, uniform:FROM,TO, exponential:MEAN or lognormal:MEDIAN,P99"


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong with a share of the answers.

    `error` answers `status` in their place, `error_event` breaks a stream off with its dialect's error event, `stall` is silent
    for `for_ms` (0: until the client leaves), `reset` (RST) and `close` (FIN) cut the connection, `truncate` ends the body well
    but what it holds too early. All but `error` do so at a place in the answer, `at`.
    """

    kind: Kind
    share: Share
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    retry_after_s: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at: Share = 0.5
    for_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Freeze(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time in which nothing at all is sent: from `at_s` seconds after the first request on, every `every_s` (0: once)."""

    for_ms: Annotated[float, msgspec.Meta(gt=0)]
    at_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    every_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests are answered; what is left out is inherited, or its default."""

    latency_ms: Number | None = None
    """From the whole request to the first byte; 0."""
    tokens_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    gap_ms: Number | None = None
    """Between two events of a stream, in place of `tokens_per_s`; 0: all at once. An answer that is not streamed comes when its
    last token would have."""
    text_bytes: Number | None = None
    """Of the text of an answer; 160."""
    token_bytes: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    """Of text in each event of a stream; 4."""
    prompt_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """What the usage says; 53."""
    faults: list[Fault] | None = None


class Route(Behaviour, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers the paths that begin with `prefix`; the first route that fits does."""

    prefix: Annotated[str, msgspec.Meta(pattern="^/")]


class Script(Behaviour, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole: what stands at the top holds for all routes that do not say otherwise, and for paths that none fits."""

    seed: int = 1
    model: str = "mock-1"
    routes: list[Route] = []
    freezes: list[Freeze] = []


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """A behaviour with nothing left out."""

    latency_ms: Draw
    gap_ms: Draw
    text_bytes: Draw
    token_bytes: int
    prompt_tokens: int
    faults: tuple[Fault, ...]


def load(path: Path) -> Script:
    """Reads a script.

    Raises:
        BenchError: it cannot be read, or is none; the message names the file and the key.
    """
    readers: dict[str, Callable[[str], Any]] = {
        ".toml": tomllib.loads,
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise BenchError(f"{path}: a script is a .toml or a .yaml file")
    try:
        content = reader(path.read_text())
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise BenchError(f"{path}: {' '.join(str(error).split())}") from error
    try:
        return checked(content if content is not None else {})
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def checked(content: object) -> Script:
    """The script that this value is.

    Raises:
        BenchError: it is none; the message begins with the key.
    """
    try:
        script = msgspec.convert(content, Script)
    except msgspec.ValidationError as error:
        raise BenchError(keyed(error)) from None
    played(script, None)
    for number, route in enumerate(script.routes):
        played(script, route, f"routes[{number}].")
    for number, freeze in enumerate(script.freezes):
        if 0 < freeze.every_s * 1e3 <= freeze.for_ms:
            raise BenchError(f"freezes[{number}].every_s: it would never thaw")
    return script


def played(script: Script, route: Route | None, where: str = "") -> Played:
    """What holds on a route; on those paths that no route fits, for None.

    Raises:
        BenchError: a number is none, or two keys contradict each other; `where` stands before the key.
    """
    over: Behaviour = script if route is None else route

    def inherited(key: str, default: Any) -> tuple[str, Any]:
        for behaviour, prefix in ((over, where), (script, "")):
            if (value := getattr(behaviour, key)) is not None:
                return prefix + key, value
        return where + key, default

    gap = draw("gap_ms", 0.0)
    for behaviour, prefix in ((over, where), (script, "")):
        if behaviour.gap_ms is not None and behaviour.tokens_per_s is not None:
            raise BenchError(f"{prefix}gap_ms: it says the same as tokens_per_s; leave one out")
        if behaviour.gap_ms is not None:
            gap = draw(f"{prefix}gap_ms", behaviour.gap_ms)
            break
        if behaviour.tokens_per_s is not None:
            gap = draw(f"{prefix}tokens_per_s", 1e3 / behaviour.tokens_per_s)
            break
    key, faults = inherited("faults", [])
    if sum(fault.share for fault in faults) > 1 + 1e-9:
        raise BenchError(f"{key}: the shares add up to more than 1")
    key, text = inherited("text_bytes", 160.0)
    text_bytes = draw(key, text)
    if text_bytes.quantile(0.01) < 1 or text_bytes.quantile(0.99) > MAX_TEXT_BYTES:
        raise BenchError(f"{key}: an answer has from 1 to {MAX_TEXT_BYTES:,} bytes of text")
    return Played(
        latency_ms=draw(*inherited("latency_ms", 0.0)),
        gap_ms=gap,
        text_bytes=text_bytes,
        token_bytes=inherited("token_bytes", 4)[1],
        prompt_tokens=inherited("prompt_tokens", 53)[1],
        faults=tuple(faults),
    )


def draw(key: str, number: Number) -> Draw:
    """Reads a number or the name of a distribution.

    Raises:
        BenchError: it is neither; the message begins with `key`.
    """
    name, colon, arguments = number.partition(":") if isinstance(number, str) else ("fixed", ":", str(number))
    if not colon:
        name, arguments = "fixed", name
    try:
        kind, count = _DISTRIBUTIONS[name.strip()]
        values = [float(value) for value in arguments.split(",")]
    except (KeyError, ValueError):
        raise BenchError(f"{key}: {number!r} is not {_FORMS}") from None
    if len(values) != count:
        raise BenchError(f"{key}: {name} takes {count} number{'s' * (count > 1)}, not {len(values)}")
    try:
        return Draw(kind, *values)
    except ValueError as error:
        raise BenchError(f"{key}: {error}") from None


def fault(text: str) -> Fault:
    """Reads a fault as the command line has it: `KIND:SHARE`, and more keys behind it: `error:0.05,status=429`.

    Raises:
        BenchError: it is none.
    """
    first, *rest = text.split(",")
    kind, _, share = first.partition(":")
    pairs = [("kind", kind), ("share", share), *(pair.partition("=")[::2] for pair in rest)]
    try:
        return msgspec.convert(dict(pairs), Fault, strict=False)
    except msgspec.ValidationError as error:
        raise BenchError(f"--fault {text}: {keyed(error)}") from None
