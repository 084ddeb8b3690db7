"""A flame graph: each stack's frames, widest where the most samples are. One SVG file; a frame's tooltip tells its share.

After Brendan Gregg's flame graphs, callers above what they call. Colours say whose a frame is, see KINDS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 1_400
_ROW: Final = 18
_TOP: Final = 56
_CHAR: Final = 6.6
_THINNEST: Final = 0.6
"""Pixels; a frame below it is not drawn, nor what it calls."""


class Kind(NamedTuple):
    """Whose a frame is, by its file."""

    name: str
    colour: str
    file: re.Pattern[str]


KINDS: Final = (
    Kind(
        "kernels",
        "#e8833a",
        re.compile(
            r"_fastpath|^(?:bucket|chat|digest|edge|gather|http1|jsonscan|metrics|sse|tokens|upstream|usage|wheel|writer)\.c"
        ),
    ),
    Kind(
        "phases",
        "#d9b23c",
        re.compile(
            r"gateway/|^(?:account|admit|authenticate|relay|route|transform|pipeline|pool|context|native|logs|spool)\.c"
        ),
    ),
    Kind(
        "event loop",
        "#6aa5d8",
        re.compile(r"uvloop|^loop\.c|^(?:stream|linux|core|uv-common|unix|poll|tcp)\.c|asyncio"),
    ),
    Kind("Python", "#9a8fd0", re.compile(r"libpython|\.py$|\.h$|^_\w+module\.c")),
    Kind("libc and Linux", "#9aa3ab", re.compile(r"")),
)


@dataclass(slots=True)
class Frame:
    """A function in the place of one stack, with all that was seen beneath it."""

    name: str
    samples: int = 0
    beneath: dict[str, Frame] = field(default_factory=dict)

    def add(self, stack: list[str], samples: int) -> None:
        self.samples += samples
        frame = self
        for name in stack:
            frame = frame.beneath.setdefault(name, Frame(name))
            frame.samples += samples

    def depth(self) -> int:
        return 1 + max((frame.depth() for frame in self.beneath.values()), default=0)


def fold(lines: Iterable[str], root: str, idle: str) -> Frame:
    """The stacks that go through a function.

    Args:
        lines: "caller;called;... SAMPLES" each.
        root: the function from which on the stacks are shown; others are left out.
        idle: a stack that ends in this function did nothing, and is left out.
    """
    whole = Frame(root)
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        at = next((at for at, name in enumerate(frames) if name.startswith(root)), None)
        if at is not None and not frames[-1].startswith(idle):
            whole.add([_plain(name) for name in frames[at + 1 :]], int(samples))
    return whole


def _plain(name: str) -> str:
    """Without the line: one function is one frame."""
    return re.sub(r":\d+\)$", ")", name)


def kind_of(name: str) -> Kind:
    file = name.rpartition("(")[2].rstrip(")")
    return next(kind for kind in KINDS if kind.file.search(file))


def render(whole: Frame, title: str) -> str:
    """The picture, as an SVG document."""
    height = _TOP + (whole.depth() + 1) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="20" font-size="15">{escape(title)}</text>',
        *_legend(),
        *_drawn(whole, 0.0, WIDTH / max(whole.samples, 1), _TOP, whole.samples),
        "</svg>",
    ]
    return "\n".join(parts)


def _legend() -> Iterator[str]:
    x = 8.0
    for kind in KINDS:
        yield f'<rect x="{x:.0f}" y="32" width="12" height="12" fill="{kind.colour}"/>'
        yield f'<text x="{x + 17:.0f}" y="42">{kind.name}</text>'
        x += 40 + _CHAR * len(kind.name)


def _drawn(frame: Frame, x: float, scale: float, y: int, all_samples: int) -> Iterator[str]:
    width = frame.samples * scale
    if width < _THINNEST:
        return
    share = f"{frame.name}: {frame.samples / max(all_samples, 1):.1%}"
    shown = frame.name if len(frame.name) * _CHAR < width - 6 else frame.name.partition(" (")[0]
    fits = max(int((width - 6) / _CHAR), 0)
    shown = shown if len(shown) <= fits else shown[: fits - 1] + "…" if fits > 3 else ""
    colour = kind_of(frame.name).colour
    yield f'<g><title>{escape(share)}</title><rect x="{x:.2f}" y="{y}" width="{max(width - 0.4, 0.3):.2f}" height="{_ROW - 1}"'
    yield f' rx="2" fill="{colour}"/><text x="{x + 3:.2f}" y="{y + 13}">{escape(shown)}</text></g>'
    for beneath in sorted(frame.beneath.values(), key=lambda one: one.name):
        yield from _drawn(beneath, x, scale, y + _ROW, all_samples)
        x += beneath.samples * scale
