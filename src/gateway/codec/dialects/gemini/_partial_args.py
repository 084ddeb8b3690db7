"""Arguments of a call that Google streams by paths, told as pieces of one JSON text.

Source: Vertex AI reference, "FunctionCall" and "PartialArg" (`streamFunctionCallArguments`): a call begins with its name and
`willContinue`; then come values, each with a JSON Path (RFC 9535: names and indices only), strings in pieces; an empty
`functionCall` ends it. Values come in the order of the document. So that a piece can be passed on at once, an object that was left
is never entered again: a stream that does so is refused.
"""

from __future__ import annotations

import re

import msgspec

from gateway.base.dialect import AnswerError

from ._arguments import one_line
from ._wire import PartialArg

MAX_PATH_STEPS = 100
"""Of a value: as deep as any body may nest."""

_STEP = re.compile(r"""\.([^.\[\]'"]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPE = re.compile(r"\\(.)")

_Step = str | int


def steps_of(path: str) -> list[_Step]:
    """Names and indices of "$.a[0]['b c']"."""
    if not path.startswith("$"):
        raise AnswerError("a partial argument without a path")
    steps: list[_Step] = []
    at = 1
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or len(steps) == MAX_PATH_STEPS:
            raise AnswerError("a path of a partial argument that cannot be read")
        name, index, single, double = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else _ESCAPE.sub(r"\1", single if single is not None else double))
        at = match.end()
    return steps


class _Container:
    """An object or a list that is open."""

    __slots__ = ("count", "is_list", "names", "step")

    def __init__(self, step: _Step | None, is_list: bool) -> None:
        self.step = step
        """Where it stands in the one around it."""
        self.is_list = is_list
        self.count = 0
        self.names: set[str] = set()

    def key(self, step: _Step) -> str:
        """What comes before the value at `step`."""
        if self.is_list != isinstance(step, int):
            raise AnswerError("partial arguments that are an object and a list at once")
        comma = "," if self.count else ""
        if isinstance(step, int):
            if step != self.count:
                raise AnswerError("partial arguments out of order")
            self.count += 1
            return comma
        if step in self.names:
            raise AnswerError("a partial argument that comes twice")
        self.names.add(step)
        self.count += 1
        return f"{comma}{msgspec.json.encode(step).decode()}:"


class PartialArguments:
    """Of one call."""

    def __init__(self) -> None:
        self._open = [_Container(None, is_list=False)]
        self._begun = False
        self._string: str | None = None
        """Path of the string that is open."""
        self._awaited: str | None = None
        """Path that was announced without a value."""

    def whole(self, values: dict[str, msgspec.Raw]) -> str:
        """Values that came at once, in `args`."""
        if not values:
            return ""
        found = self._settle()
        for name, raw in values.items():
            found += self._at([name]) + bytes(one_line(raw)).decode()
        return self._head() + found

    def feed(self, partial: PartialArg) -> str:
        """Raises AnswerError."""
        path = partial.json_path or ""
        if partial.string_value is not None:
            return self._head() + self._text(path, partial.string_value, partial.will_continue is True)
        value = _value(partial)
        if value is not None:
            if self._string == path:
                raise AnswerError("a partial argument that is a string and something else")
            self._awaited = None if self._awaited == path else self._awaited
            return self._head() + self._settle() + self._at(steps_of(path)) + value
        if partial.will_continue is True:
            if path not in (self._string, self._awaited):
                found = self._settle()
                self._awaited = path
                return self._head() + found
            return ""
        if path in (self._string, self._awaited):
            return self._head() + self._settle()
        return self._head() + self._settle() + self._at(steps_of(path)) + "null"

    def close(self) -> str:
        """The rest of the text."""
        found = self._head() + self._settle()
        while self._open:
            found += self._leave()
        return found

    def _head(self) -> str:
        if self._begun:
            return ""
        self._begun = True
        return "{"

    def _text(self, path: str, text: str, goes_on: bool) -> str:
        found = ""
        if self._string != path:
            self._awaited = None if self._awaited == path else self._awaited
            found = self._settle() + self._at(steps_of(path)) + '"'
        found += msgspec.json.encode(text).decode()[1:-1]
        self._string = path if goes_on else None
        return found if goes_on else found + '"'

    def _settle(self) -> str:
        """Ends what was open or announced."""
        found = ""
        if self._string is not None:
            self._string = None
            found = '"'
        if self._awaited is not None:
            path, self._awaited = self._awaited, None
            found += self._at(steps_of(path)) + "null"
        return found

    def _at(self, steps: list[_Step]) -> str:
        """Closes and opens what lies between the last value and that at `steps`."""
        if not steps:
            raise AnswerError("a partial argument that is no argument")
        shared = 0
        while shared < len(steps) - 1 and shared + 1 < len(self._open) and self._open[shared + 1].step == steps[shared]:
            shared += 1
        pieces = [self._leave() for _ in range(len(self._open) - 1 - shared)]
        for step, below in zip(steps[shared:-1], steps[shared + 1 :], strict=True):
            is_list = isinstance(below, int)
            pieces += (self._open[-1].key(step), "[" if is_list else "{")
            self._open.append(_Container(step, is_list))
        pieces.append(self._open[-1].key(steps[-1]))
        return "".join(pieces)

    def _leave(self) -> str:
        return "]" if self._open.pop().is_list else "}"


def _value(partial: PartialArg) -> str | None:
    """A value that is no string, as JSON."""
    if partial.bool_value is not None:
        return "true" if partial.bool_value else "false"
    if (number := partial.number_value) is not None:
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return "null" if bytes(partial.null_value) else None
