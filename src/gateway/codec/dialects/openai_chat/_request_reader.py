"""A caller's request.

It is decoded once, strictly. Where that finds a field that nobody knows, it is decoded again without such fields, and their paths are
told. Of the fields that are known, some have no canonical place: those are told too, as hints where they change no answer.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, get_args

import msgspec
from msgspec import inspect

from _fastpath.chat import MAX_CHOICES, MOST_TOKENS
from gateway.base.errors import INVALID_JSON, INVALID_VALUE, GatewayError
from gateway.base.messages import (
    Block,
    CacheMark,
    Effort,
    HostedTool,
    Lost,
    Message,
    OutputFormat,
    Reasoning,
    Request,
    ResultBlock,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.codec.dialects.openai_chat import _request_wire as wire
from gateway.codec.dialects.openai_chat._blocks_reader import PartError, read_parts, read_spoken
from gateway.codec.dialects.openai_chat._thoughts import OWN
from gateway.codec.dialects.openai_chat._unknown import without_unknown
from gateway.codec.dialects.openai_chat._wire import Mark
from gateway.codec.raw import ABSENT

MAX_TOP_LOGPROBS = 20
"""OpenAI's bound of `top_logprobs`."""

_decoder = msgspec.json.Decoder(wire.Request)
_REQUEST = inspect.type_info(wire.Request)
_UNKNOWN = "Object contains unknown field"

_EFFORTS: dict[str, Effort | None] = {effort: effort for effort in get_args(Effort)} | {"default": None}
"""The last is Groq's."""

_HINTS = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "prediction")
"""Known fields without a canonical place that change what an answer costs, or when it comes, and not what it says."""

_HOSTED = "web_search_options"

_KEPT = re.compile(r"(?:tools|messages\[\d+\]\.content)\[\d+\]")
"""Begins the path of what may be kept as it came."""


def read_request(body: bytes, lost: Lost) -> Request:
    """Raises GatewayError."""
    told, unknown = _decode(body)
    raws = _Raws(body)
    request = Request(
        model=told.model,
        messages=[],
        stream=told.stream is True,
        include_usage=told.stream_options is not None and told.stream_options.include_usage is True,
        max_output_tokens=_at_least_one(
            told.max_tokens if told.max_completion_tokens is None else told.max_completion_tokens, told
        ),
        temperature=told.temperature,
        top_p=told.top_p,
        top_k=told.top_k,
        parallel_tool_calls=told.parallel_tool_calls,
        reasoning=_reasoning(told),
        verbosity=told.verbosity,
        seed=told.seed,
        frequency_penalty=told.frequency_penalty,
        presence_penalty=told.presence_penalty,
        user=told.user if told.user is not None else told.safety_identifier,
        service_tier=told.service_tier,
        store=told.store,
    )
    _read_messages(request, told.messages, raws)
    if told.stop is not None:
        request.stop = [told.stop] if isinstance(told.stop, str) else told.stop
    if told.tools is not None or told.functions is not None:
        _read_tools(request, told, raws)
    choice = told.tool_choice if told.tool_choice is not None else told.function_call
    if choice is not None:
        request.tool_choice = _tool_choice(choice)
    if told.response_format is not None:
        request.output = _output(told.response_format, lost)
    if told.n is not None:
        if not 1 <= told.n <= MAX_CHOICES:
            raise _invalid("n", f"'n' must be between 1 and {MAX_CHOICES}.")
        request.choices = told.n
    if told.logprobs:
        request.logprobs = _top_logprobs(told.top_logprobs)
    if told.logit_bias is not ABSENT and told.logit_bias != ABSENT:
        request.logit_bias = told.logit_bias
    if told.metadata is not None:
        request.metadata = told.metadata
    if told.web_search_options is not ABSENT and told.web_search_options != ABSENT:
        request.hosted_tools.append(HostedTool(OWN, _HOSTED, told.web_search_options))
    _tell(told, unknown, raws, lost)
    return request


def _tell(told: wire.Request, unknown: list[str], raws: _Raws, lost: Lost) -> None:
    """Of all that has found no place."""
    for field in _HINTS:
        if getattr(told, field) is not None:
            lost.hint(field)
    if told.stream_options is not None and told.stream_options.include_obfuscation is not None:
        lost.hint("stream_options.include_obfuscation")
    if told.modalities is not None and told.modalities != ["text"]:
        lost.field("modalities")
    if told.messages[0].name is not None and told.messages[0].role in _SYSTEM:
        lost.hint("messages[0].name")
    for path in unknown:
        kept = _KEPT.match(path)
        if kept is None or kept[0] not in raws.carried:
            lost.field(path)


# -- from bytes to what stands on the wire


class _RawMessage(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


class _RawRequest(msgspec.Struct):
    messages: list[_RawMessage]
    tools: list[msgspec.Raw] | None = None


_raw_decoder = msgspec.json.Decoder(_RawRequest)


class _Raws:
    """The bytes of what was not understood, found by its place; the body is decoded for them once, if ever."""

    __slots__ = ("_body", "_found", "carried")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._found: _RawRequest | None = None
        self.carried: set[str] = set()
        """Paths of what is kept as it came: nothing in it is lost."""

    def part(self, message: int, part: int) -> msgspec.Raw:
        content = self._all().messages[message].content
        assert isinstance(content, list)
        self.carried.add(f"messages[{message}].content[{part}]")
        return content[part]

    def tool(self, i: int) -> msgspec.Raw:
        tools = self._all().tools
        assert tools is not None
        self.carried.add(f"tools[{i}]")
        return tools[i]

    def _all(self) -> _RawRequest:
        if self._found is None:
            self._found = _raw_decoder.decode(self._body)
        return self._found


def _decode(body: bytes) -> tuple[wire.Request, list[str]]:
    """(the request, the paths of what nobody knows)."""
    try:
        try:
            return _decoder.decode(body), []
        except msgspec.ValidationError as error:
            if not str(error).startswith(_UNKNOWN):
                raise
            known, unknown = without_unknown(body, _REQUEST)
            return _decoder.decode(known), unknown
    except msgspec.ValidationError as error:
        raise _validation_fault(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, "The body is not valid JSON.") from error


def _validation_fault(text: str) -> GatewayError:
    """msgspec says "Expected `str`, got `int` - at `$.messages[0].role`"."""
    what, _, where = text.partition(" - at ")
    param = where.strip("`").removeprefix("$").removeprefix(".")
    return GatewayError(INVALID_VALUE, f"{what}{f' in {param!r}' if param else ''}.", param=param or None)


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(INVALID_VALUE, message, param=param)


# -- messages

_SYSTEM = frozenset({"system", "developer"})
_RESULTS = frozenset({"tool", "function"})


def _read_messages(request: Request, told: list[wire.Message], raws: _Raws) -> None:
    if not told:
        raise _invalid("messages", "'messages' must hold at least one message.")
    messages = request.messages
    results: list[Block] | None = None
    """Of the turn that gathers the results of calls which were made together."""
    calls = _Unanswered([])
    for i, message in enumerate(told):
        role = message.role
        if role in _RESULTS:
            result = _result(message, i, calls, raws)
            if results is None:
                results = []
                messages.append(Message("user", results))
            results.append(result)
            continue
        results = None
        if role == "user":
            messages.append(Message("user", _content(message, i, raws), message.name or ""))
        elif role == "assistant":
            blocks = _spoken(message, i, raws)
            messages.append(Message("assistant", blocks, message.name or ""))
            calls = _Unanswered(blocks)
        elif role not in _SYSTEM:
            raise _invalid(f"messages[{i}].role", f"'messages[{i}].role' is none of a message's roles.")
        elif messages:
            messages.append(Message("system", _content(message, i, raws), message.name or ""))
        else:
            request.system += _content(message, i, raws)


def _content(message: wire.Message, i: int, raws: _Raws) -> list[Block]:
    content = message.content
    if isinstance(content, str):
        blocks: list[Block] = [Text(content)]
    elif content is None:
        raise _invalid(f"messages[{i}].content", f"'messages[{i}].content' must be a text or a list of parts.")
    else:
        try:
            blocks = read_parts(content, lambda part: raws.part(i, part))
        except PartError as error:
            raise _lacking(f"messages[{i}].{error}") from error
    if message.cache_control is not None:
        _mark_last(blocks, message.cache_control)
    return blocks


def _spoken(message: wire.Message, i: int, raws: _Raws) -> list[Block]:
    try:
        blocks = read_spoken(message, i, lambda part: raws.part(i, part))
    except PartError as error:
        raise _lacking(f"messages[{i}].{error}") from error
    if message.cache_control is not None:
        _mark_last(blocks, message.cache_control)
    return blocks


def _lacking(param: str) -> GatewayError:
    return _invalid(param, f"{param!r} is missing, or cannot be read.")


def _mark_last(blocks: list[Block], mark: Mark) -> None:
    """Of a whole message (LiteLLM's) holds for all of it."""
    for block in reversed(blocks):
        if hasattr(block, "cache"):
            block.cache = CacheMark(mark.ttl or "")
            return


def _result(message: wire.Message, i: int, calls: _Unanswered, raws: _Raws) -> ToolResult:
    content = message.content
    if isinstance(content, str):
        blocks: list[Any] = [Text(content)] if content else []
    else:
        blocks = [] if content is None else _content(message, i, raws)
    call_id = message.tool_call_id or calls.first(message.name)
    if call_id is None:
        raise _lacking(f"messages[{i}].{'name' if message.role == 'function' else 'tool_call_id'}")
    calls.answered.add(call_id)
    found: list[ResultBlock] = blocks
    result = ToolResult(call_id, found, name=message.name or "")
    if message.cache_control is not None:
        result.cache = CacheMark(message.cache_control.ttl or "")
    return result


class _Unanswered:
    """Calls of an assistant's last turn: a result without an id is of the first that has none yet."""

    __slots__ = ("_blocks", "_waiting", "answered")

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks
        self._waiting: dict[str | None, deque[str]] | None = None
        """Ids by the name of the tool, and all of them under None; made only where they are asked for."""
        self.answered: set[str] = set()

    def first(self, name: str | None) -> str | None:
        """`name`: of the tool; None for any."""
        if self._waiting is None:
            self._waiting = {}
            for block in self._blocks:
                if isinstance(block, ToolCall):
                    for key in (None, block.name):
                        self._waiting.setdefault(key, deque()).append(block.id)
        waiting = self._waiting.get(name, ())
        while waiting:
            call_id = waiting.popleft()
            if call_id not in self.answered:
                return call_id
        return None


# -- tools


def _read_tools(request: Request, told: wire.Request, raws: _Raws) -> None:
    for i, entry in enumerate(told.tools or ()):
        if entry.type == "function":
            if entry.function is None:
                raise _lacking(f"tools[{i}].function")
            tool = _function(entry.function)
        elif entry.type == "custom":
            if entry.custom is None:
                raise _lacking(f"tools[{i}].custom")
            tool = Tool(entry.custom.name, entry.custom.description or "", custom=True)
            tool.grammar = _grammar(entry.custom.format)
        else:
            request.hosted_tools.append(HostedTool(OWN, entry.type, raws.tool(i)))
            continue
        if entry.cache_control is not None:
            tool.cache = CacheMark(entry.cache_control.ttl or "")
        request.tools.append(tool)
    request.tools += [_function(function) for function in told.functions or ()]


def _function(told: wire.FunctionEntry) -> Tool:
    tool = Tool(told.name, told.description or "", strict=told.strict)
    if told.parameters is not ABSENT and told.parameters != ABSENT:
        tool.parameters = told.parameters
    if told.cache_control is not None:
        tool.cache = CacheMark(told.cache_control.ttl or "")
    return tool


class _Grammar(msgspec.Struct):
    definition: str
    syntax: str


class _GrammarFormat(msgspec.Struct):
    type: str = ""
    grammar: _Grammar | None = None


def _grammar(told: msgspec.Raw) -> msgspec.Raw | None:
    """`{"syntax", "definition"}`; None for any text. What is of another form is kept as it came."""
    if told is ABSENT or told == ABSENT:
        return None
    try:
        found = msgspec.json.decode(told, type=_GrammarFormat)
    except msgspec.DecodeError:
        return told
    if found.type == "text":
        return None
    return msgspec.Raw(msgspec.json.encode(found.grammar)) if found.grammar is not None else told


_MODES = {"auto": "auto", "none": "none", "required": "required", "any": "required", "validated": "auto"}
"""`any` and `validated` are of others."""


def _tool_choice(told: str | wire.ToolChoice | wire.Named) -> ToolChoice:
    if isinstance(told, str):
        return ToolChoice(_mode(told))
    if isinstance(told, wire.Named):
        return ToolChoice("one", told.name)
    if told.allowed_tools is not None:
        mode, names = _mode(told.allowed_tools.mode), [_name(tool) for tool in told.allowed_tools.tools]
        return ToolChoice(mode, allowed=names)
    return ToolChoice("one", _name(told))


def _mode(told: str) -> Any:
    mode = _MODES.get(told)
    if mode is None:
        raise _invalid("tool_choice", "'tool_choice' must be 'auto', 'none', 'required' or a tool.")
    return mode


def _name(tool: wire.ToolReference) -> str:
    named = tool.custom if tool.custom is not None else tool.function
    if named is None:
        raise _invalid("tool_choice", "'tool_choice' names no tool.")
    return named.name


# -- the rest


def _output(told: wire.ResponseFormat, lost: Lost) -> OutputFormat | None:
    if told.type == "text":
        return OutputFormat("text")
    if told.type == "json_object":
        if told.schema is not ABSENT and told.schema != ABSENT:
            return OutputFormat("json_schema", schema=told.schema)
        return OutputFormat("json")
    if told.type == "json_schema":
        schema = told.json_schema
        if schema is None:
            raise _lacking("response_format.json_schema")
        if schema.schema is ABSENT or schema.schema == ABSENT:
            return OutputFormat("json")  # of any shape
        return OutputFormat("json_schema", schema.name or "", schema.description or "", schema.schema, schema.strict)
    lost.field("response_format")
    return None


def _reasoning(told: wire.Request) -> Reasoning | None:
    """Of the ways to ask for it, OpenAI's own counts first."""
    effort, router, thinking = told.reasoning_effort, told.reasoning, told.thinking
    if effort is None and router is None and thinking is None and told.include_reasoning is None:
        return None
    found = Reasoning(_effort(effort, "reasoning_effort"), shown=told.include_reasoning)
    if router is not None:
        found.effort = found.effort or _effort(router.effort, "reasoning.effort")
        found.budget_tokens = router.max_tokens
        found.adaptive = router.enabled is True and found.effort is None and found.budget_tokens is None
        if router.enabled is False:
            found.effort = "none"
        if router.exclude is not None:
            found.shown = not router.exclude
        elif router.summary is not None:
            found.shown = True
    if thinking is not None:
        if thinking.type == "disabled":
            found.effort = found.effort or "none"
        elif thinking.budget_tokens is not None:
            found.budget_tokens = thinking.budget_tokens
        else:
            found.adaptive = found.effort is None and found.budget_tokens is None
    return found if found != Reasoning() else None


def _effort(told: str | None, param: str) -> Effort | None:
    if told is None:
        return None
    if told not in _EFFORTS:
        raise _invalid(param, f"{param!r} must be one of {', '.join(get_args(Effort))}.")
    return _EFFORTS[told]


def _at_least_one(told: int | None, request: wire.Request) -> int | None:
    if told is not None and not 1 <= told <= MOST_TOKENS:
        param = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        raise _invalid(param, f"{param!r} must be between 1 and {MOST_TOKENS}.")
    return told


def _top_logprobs(told: int | None) -> int:
    if told is not None and not 0 <= told <= MAX_TOP_LOGPROBS:
        raise _invalid("top_logprobs", f"'top_logprobs' must be between 0 and {MAX_TOP_LOGPROBS}.")
    return told or 0
