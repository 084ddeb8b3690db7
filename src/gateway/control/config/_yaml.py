"""YAML to a tree of text with positions: nothing is interpreted here but structure.

libyaml's events are taken as they come (PyYAML's C parser: 3 ms for a file of 150 lines, ruamel.yaml's composer takes
60 to 100) and made into three kinds of nodes. Scalars stay text, so none of YAML 1.1's conversions can bite: `on`,
`010` and `12:30` are what they look like, and the schema alone says what an integer is.

Bounds: a file holds at most MAX_BYTES, and its tree at most MAX_NODES *after* aliases and merges are expanded and at
most MAX_DEPTH levels. An alias is a shared node that counts with its full size, so a small file cannot unfold into a
large one. Anchors, aliases and merge keys (`<<`) are taken; tags, keys that are no text, and several documents are
problems. A key that stands twice is a problem, and the first one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

try:
    from yaml.cyaml import CBaseLoader as _Parser
except ImportError:  # PyYAML was built without libyaml: the same events, ten times slower
    from yaml.loader import BaseLoader as _Parser  # type: ignore[assignment]

MAX_BYTES = 16 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 32

MERGE = "<<"


class Mark(NamedTuple):
    """A place in the file, both from 1; column in characters."""

    line: int
    column: int


class Scalar(msgspec.Struct, frozen=True):
    text: str
    quoted: bool
    mark: Mark
    size: int = 1

    @property
    def empty(self) -> bool:
        """Whether it stands for no value at all: nothing, `~` or `null`."""
        return not self.quoted and self.text in ("", "~", "null", "Null", "NULL")


class Sequence(msgspec.Struct):
    items: list[Node]
    mark: Mark
    size: int = 1


class Mapping(msgspec.Struct):
    """`marks` holds where each key stands, `pairs` its value; both in the order of the file, merged keys last."""

    pairs: dict[str, Node]
    marks: dict[str, Mark]
    mark: Mark
    size: int = 1


Node = Scalar | Sequence | Mapping
Report = Callable[[tuple[str | int, ...], str, Mark], None]


class FatalError(Exception):
    """The text cannot be read any further."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def parse(text: str, report: Report) -> Node | None:
    """The tree of a document; None where the text holds none.

    Args:
        text: the file's content.
        report: is told of mistakes after which reading went on: the path to them, what is wrong, and where.

    Raises:
        FatalError: no YAML, or past a bound.
    """
    try:
        return _Composer(text, report).document()
    except MarkedYAMLError as error:
        raise FatalError(_mark(error.problem_mark or error.context_mark), f"not YAML: {_explain(error)}") from None
    except YAMLError as error:
        reason = getattr(error, "reason", None) or "unreadable"
        raise FatalError(_locate(text, getattr(error, "position", 0) or 0), f"not YAML: {reason}") from None


def glance(text: str, key: str) -> str | None:
    """The scalar that stands under a key of the document itself, as far as the text can be read; None where none stands there.

    For what must be known of a file that is broken elsewhere: nothing is validated, and reading ends where it must.
    """
    depth, nodes, before = 0, 0, None
    try:
        parser: Any = _Parser(text)
        while not isinstance(event := parser.get_event(), StreamEndEvent):
            if isinstance(event, CollectionStartEvent):
                depth += 1
                continue
            depth -= isinstance(event, CollectionEndEvent)
            if depth == 1 and isinstance(event, (NodeEvent, CollectionEndEvent)):  # a key or its value is complete
                value = event.value if isinstance(event, ScalarEvent) else None
                if nodes % 2 and before == key:
                    return value
                nodes, before = nodes + 1, value
    except YAMLError:
        pass  # the reader of the whole file says what is wrong with it
    return None


class _Composer:
    """Makes nodes of events. Recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, report: Report) -> None:
        parser: Any = _Parser(text)
        self._next: Callable[[], Event] = parser.get_event
        self._tell = report
        self._path: list[str | int] = []
        self._anchors: dict[str | None, Node | None] = {}
        self._depth = 0
        self._nodes = 0

    def document(self) -> Node | None:
        self._next()  # the stream's start
        if isinstance(self._next(), StreamEndEvent):
            return None
        root = self._node(self._next())
        self._next()  # the document's end
        after = self._next()
        if isinstance(after, DocumentStartEvent):
            raise FatalError(_mark(after.start_mark), "a second document begins here; a configuration is one document")
        return None if isinstance(root, Scalar) and root.empty else root

    def _node(self, event: Event) -> Node:
        mark = _mark(event.start_mark)
        self._count(mark)
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, mark)
        assert isinstance(event, NodeEvent)
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None  # known, but not whole yet
        node = self._scalar(event, mark) if isinstance(event, ScalarEvent) else self._collection(event, mark)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _count(self, mark: Mark) -> None:
        self._nodes += 1
        _bound(self._nodes, mark)

    def _alias(self, name: str | None, mark: Mark) -> Node:
        if name not in self._anchors:
            raise FatalError(mark, f"no anchor &{name} stands before this alias")
        node = self._anchors[name]
        if node is None:
            raise FatalError(mark, f"the alias *{name} stands inside what it stands for")
        return node

    def _scalar(self, event: ScalarEvent, mark: Mark) -> Scalar:
        self._no_tag(event.tag, mark)
        return Scalar(event.value, bool(event.style), mark)

    def _collection(self, event: Event, mark: Mark) -> Node:
        assert isinstance(event, CollectionStartEvent)
        self._no_tag(event.tag, mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FatalError(mark, f"nests deeper than {MAX_DEPTH} levels")
        node = self._mapping(mark) if isinstance(event, MappingStartEvent) else self._sequence(mark)
        self._depth -= 1
        return node

    def _no_tag(self, tag: str | None, mark: Mark) -> None:
        if tag is not None:
            self._report(mark, "a tag (`!...`) has no meaning here; write the value alone")

    def _report(self, mark: Mark, message: str, *step: str) -> None:
        self._tell((*self._path, *step), message, mark)

    def _within(self, step: str | int, event: Event) -> Node:
        """A node that stands under a key or an index."""
        self._path.append(step)
        node = self._node(event)
        self._path.pop()
        return node

    def _sequence(self, mark: Mark) -> Sequence:
        node = Sequence([], mark)
        while not isinstance(event := self._next(), SequenceEndEvent):
            item = self._within(len(node.items), event)
            node.items.append(item)
            node.size += item.size
            _bound(node.size, mark)
        return node

    def _mapping(self, mark: Mark) -> Mapping:
        node = Mapping({}, {}, mark)
        merged: list[Mapping] = []
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._node(event)
            value = self._within(key.text if isinstance(key, Scalar) else "?", self._next())
            node.size += key.size + value.size
            _bound(node.size, mark)
            if not isinstance(key, Scalar):
                self._report(key.mark, "a key must be text")
            elif key.text == MERGE and not key.quoted:
                merged += self._merged(value, key.mark)
            elif key.text in node.pairs:
                self._report(key.mark, f"stands already on line {node.marks[key.text].line}; keep one", key.text)
            else:
                node.pairs[key.text] = value
                node.marks[key.text] = key.mark
        _merge(node, merged)
        return node

    def _merged(self, value: Node, mark: Mark) -> list[Mapping]:
        sources = value.items if isinstance(value, Sequence) else [value]
        if all(isinstance(source, Mapping) for source in sources):
            return [source for source in sources if isinstance(source, Mapping)]
        self._report(mark, "merges a mapping or a list of mappings, and nothing else", MERGE)
        return []


def _merge(node: Mapping, sources: list[Mapping]) -> None:
    """A key of the mapping itself wins over merged ones, an earlier source over a later one (YAML's merge key type)."""
    for source in sources:
        for key, value in source.pairs.items():
            if key not in node.pairs:
                node.pairs[key] = value
                node.marks[key] = source.marks[key]


def _bound(size: int, mark: Mark) -> None:
    if size > MAX_NODES:
        raise FatalError(mark, f"more than {MAX_NODES:,} values, aliases expanded")


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark(1, 1)


def _explain(error: MarkedYAMLError) -> str:
    """The parser's words and what they most often mean."""
    problem = str(error.problem or error.context)
    if "mapping values are not allowed" in problem:
        return f"{problem} (a value that holds `: ` needs quotes, or the indentation is wrong)"
    if "cannot start any token" in problem:
        return f"{problem} (tabs do not indent; a value that begins with @, % or ` needs quotes)"
    if "expected node content" in problem or "',' or ']'" in problem:
        return f"{problem} (a value that begins with [ or {{ needs quotes)"
    return problem


def _locate(text: str, position: int) -> Mark:
    """Line and column of an offset in UTF-8 bytes."""
    before = text.encode()[:position].decode(errors="ignore")
    return Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
