"""The input of a custom tool, out of the arguments of the function that stands for it in a dialect without such tools.

There a custom tool is declared with one argument, a text, and a call says `{"input": "*** Begin Patch\\n..."}`; its caller here waits for
the text alone. It is taken out as the arguments come, in whatever pieces. What is not of that form is the input as it stands.
"""

from __future__ import annotations

import json
import re

HEAD_CHARS = 200
"""What stands before the text is shorter; else there is none."""

_HEAD = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*"')
_STRING = re.compile(r'(?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*')
_HALF = re.compile(r"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})\Z")
"""The first half of a character, whose second may follow."""


class Unwrapping:
    """Of the arguments of one call."""

    def __init__(self) -> None:
        self._waiting = ""
        """What has come and could not be told yet."""
        self._whole: list[str] | None = None
        """All that has come, where it is of another form."""
        self._within = False
        self._closed = False

    def feed(self, text: str) -> str:
        """What of the input is known by now."""
        if self._whole is not None:
            self._whole.append(text)
            return ""
        if self._closed:
            return ""
        self._waiting += text
        if not self._within:
            head = _HEAD.match(self._waiting)
            if head is None:
                if len(self._waiting) > HEAD_CHARS:
                    self._whole, self._waiting = [self._waiting], ""
                return ""
            self._within = True
            self._waiting = self._waiting[head.end() :]
        return self._take()

    def _take(self) -> str:
        found = _STRING.match(self._waiting)
        assert found is not None  # of no length, at the least
        end = found.end()
        self._closed = self._waiting.startswith('"', end)
        if not self._closed and (half := _HALF.search(self._waiting, max(0, end - 64), end)) is not None:
            end = half.start(1)
        piece, self._waiting = self._waiting[:end], self._waiting[end:]
        return _decoded(piece)

    def end(self) -> str:
        """The rest of it."""
        if self._within:
            return ""
        return _unwrapped("".join(self._whole) if self._whole is not None else self._waiting)


def unwrapped(arguments: str) -> str:
    """The input, of whole arguments."""
    unwrapping = Unwrapping()
    return unwrapping.feed(arguments) + unwrapping.end()


def _unwrapped(arguments: str) -> str:
    """Of such as hold no text in the usual place."""
    return "" if arguments.strip() in ("", "{}") else arguments


def _decoded(piece: str) -> str:
    """Escapes resolved; raw line ends, which models do write, are taken as they are."""
    if "\\" not in piece:
        return piece
    try:
        text: str = json.loads(f'"{piece}"', strict=False)
    except ValueError:  # an escape that JSON does not have
        return piece
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
