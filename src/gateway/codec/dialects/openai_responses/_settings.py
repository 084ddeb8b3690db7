"""What a request asks for beside its conversation: tools, the choice of them, reasoning and the form of the answer.

`strict` of a function: here it is true by default, as far as the schema admits it, elsewhere false. Nothing said is carried as nothing
said; what comes from elsewhere says `false`, or optional arguments would become required ones.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from gateway.base.messages import (
    Effort,
    HostedTool,
    Lost,
    OutputFormat,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)
from gateway.codec import efforts
from gateway.codec.dialects.openai_responses._parts import SEARCH, encoded, joined_name, split_name
from gateway.codec.dialects.openai_responses._signed import OWN
from gateway.codec.dialects.openai_responses._wire import (
    TOOLS,
    CustomTool,
    Format,
    FunctionTool,
    NamespaceTool,
    SearchTool,
    UnreadableError,
    Wire,
    decode,
    kind_of,
)
from gateway.codec.raw import ABSENT, given

# -- tools


def read_tools(raws: list[msgspec.Raw], path: str, lost: Lost, request: Request) -> None:
    """Adds to the tools of `request`; such as are known already are not added again."""
    tools, hosted = list[Tool](), list(request.hosted_tools)
    for at, raw in enumerate(raws):
        where = f"{path}[{at}]"
        kind = kind_of(raw, where)
        if kind == "tool_search":
            _read_search(raw, where, lost, tools, hosted)
        elif kind == "namespace":
            tools += _read_namespace(raw, where, lost)
        elif kind in TOOLS:
            tools.append(_read_tool(kind, raw, where, lost))
        else:
            hosted.append(HostedTool(OWN, kind, raw))
    known = {tool.name for tool in request.tools}
    request.tools = [*request.tools, *(tool for tool in tools if tool.name not in known)]
    request.hosted_tools = hosted


def _read_search(raw: msgspec.Raw, path: str, lost: Lost, tools: list[Tool], hosted: list[HostedTool]) -> None:
    found: SearchTool = decode(TOOLS["tool_search"], raw, path, lost)
    if found.execution != "client":
        hosted.append(HostedTool(OWN, "tool_search", raw))
        return
    parameters = found.parameters if given(found.parameters) else None
    tools.append(Tool(SEARCH, found.description or "", parameters))


def _read_namespace(raw: msgspec.Raw, path: str, lost: Lost) -> list[Tool]:
    namespace: NamespaceTool = decode(TOOLS["namespace"], raw, path, lost)
    if namespace.description:
        lost.hint(f"{path}.description")
    tools = []
    for at, each in enumerate(namespace.tools or ()):
        where = f"{path}.tools[{at}]"
        kind = kind_of(each, where)
        if kind not in ("function", "custom"):
            lost.field(where)
            continue
        tool = _read_tool(kind, each, where, lost)
        tool.name = joined_name(namespace.name, tool.name)
        tools.append(tool)
    return tools


def _read_tool(kind: str, raw: msgspec.Raw, path: str, lost: Lost) -> Tool:
    found: FunctionTool | CustomTool = decode(TOOLS[kind], raw, path, lost)
    if not found.name:
        raise UnreadableError("A tool needs a name", f"{path}.name")
    if isinstance(found, CustomTool):
        return Tool(found.name, found.description or "", custom=True, grammar=_grammar(found.format))
    parameters = found.parameters if given(found.parameters) else None
    return Tool(found.name, found.description or "", parameters, found.strict)


class _Grammar(msgspec.Struct):
    syntax: str
    definition: str


_grammar_decoder = msgspec.json.Decoder(_Grammar)


def _grammar(form: Format | None) -> msgspec.Raw | None:
    """`{"syntax": ..., "definition": ...}`; None for any text."""
    if form is None or form.type != "grammar":
        return None
    return encoded(_Grammar(form.syntax or "", form.definition or ""))


def write_tools(request: Request, lost: Lost) -> list[object]:
    written: list[object] = []
    namespaces: dict[str, NamespaceTool] = {}
    for at, tool in enumerate(request.tools):
        if tool.cache is not None:
            lost.hint(f"tools[{at}].cache")
        namespace, name = split_name(tool.name)
        found = _written_tool(tool, name, f"tools[{at}]", lost)
        if namespace is None:
            written.append(found)
            continue
        group = namespaces.get(namespace)
        if group is None:
            group = namespaces[namespace] = NamespaceTool(namespace, f"Tools of {namespace}.", [])
            written.append(group)
        assert group.tools is not None
        group.tools.append(encoded(found))
    for at, hosted in enumerate(request.hosted_tools):
        if hosted.dialect == OWN:
            written.append(hosted.value)
        else:
            lost.field(f"hosted_tools[{at}].{hosted.kind}")
    return written


class _WrittenFunction(msgspec.Struct, tag="function", omit_defaults=True):
    """Its `strict` is always said."""

    name: str
    parameters: msgspec.Raw | None
    strict: bool
    description: str = ""


def _written_tool(tool: Tool, name: str, path: str, lost: Lost) -> object:
    if name == SEARCH:
        return SearchTool("client", tool.description or None, tool.parameters or ABSENT)
    if not tool.custom:
        return _WrittenFunction(name, tool.parameters, tool.strict is True, tool.description)
    form = None
    if tool.grammar is not None:
        try:
            grammar = _grammar_decoder.decode(tool.grammar)
            form = Format("grammar", grammar.syntax, grammar.definition)
        except msgspec.ValidationError:
            lost.field(f"{path}.grammar")
    return CustomTool(name, tool.description or None, form)


# -- the choice of them


class Chosen(Wire):
    """A choice that is an object, or one of the tools of such a choice."""

    type: str
    name: str | None = None
    namespace: str | None = None
    mode: str | None = None
    server_label: str | None = None
    tools: list[Chosen] | None = None


def read_tool_choice(choice: str | Chosen, lost: Lost) -> ToolChoice | None:
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case str():
            raise UnreadableError("It must be 'auto', 'none', 'required' or an object", "tool_choice")
        case Chosen("function" | "custom", str(name)):
            return ToolChoice("one", joined_name(choice.namespace, name))
        case Chosen("allowed_tools"):
            return _read_allowed(choice, lost)
    lost.field("tool_choice")
    return None


def _read_allowed(choice: Chosen, lost: Lost) -> ToolChoice:
    names = []
    for at, tool in enumerate(choice.tools or ()):
        if tool.type in ("function", "custom") and tool.name:
            names.append(joined_name(tool.namespace, tool.name))
        else:
            lost.field(f"tool_choice.tools[{at}]")
    mode: Literal["auto", "required"] = "required" if choice.mode == "required" else "auto"
    return ToolChoice(mode, allowed=names)


def write_tool_choice(request: Request) -> str | Chosen | None:
    choice = request.tool_choice
    if choice is None:
        return None
    custom = {tool.name for tool in request.tools if tool.custom}

    def named(name: str) -> Chosen:
        namespace, own = split_name(name)
        return Chosen("custom" if name in custom else "function", own, namespace)

    if choice.mode == "one":
        return named(choice.name)
    if choice.allowed and choice.mode != "none":
        return Chosen("allowed_tools", mode=choice.mode, tools=[named(name) for name in choice.allowed])
    return choice.mode


# -- reasoning


class ReasoningSettings(Wire):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


_EFFORTS: dict[str, Effort] = {effort: effort for effort in get_args(Effort)}


def read_reasoning(found: ReasoningSettings, lost: Lost) -> Reasoning:
    effort = _EFFORTS.get(found.effort or "")
    if found.effort is not None and effort is None:
        lost.field("reasoning.effort")
    summary = found.summary or found.generate_summary
    if summary not in (None, "auto", "none"):
        lost.hint("reasoning.summary")  # how long it is to be
    if found.context not in (None, "auto"):
        lost.hint("reasoning.context")
    if found.mode not in (None, "standard"):
        lost.field("reasoning.mode")
    return Reasoning(effort, shown=None if summary is None else summary != "none")


def effort_of(reasoning: Reasoning) -> Effort | None:
    """The one that is asked for, or the smallest that thinks as much."""
    if reasoning.effort is not None or reasoning.budget_tokens is None:
        return reasoning.effort
    return efforts.effort_of(reasoning.budget_tokens)


def write_reasoning(reasoning: Reasoning, lost: Lost) -> ReasoningSettings:
    if reasoning.budget_tokens is not None and reasoning.budget_tokens != efforts.BUDGETS.get(
        effort_of(reasoning) or "none"
    ):
        lost.hint("reasoning.budget_tokens")
    return ReasoningSettings(effort_of(reasoning), "auto" if reasoning.shown else None)


# -- the form of the answer


class TextFormat(Wire):
    type: str
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class TextSettings(Wire):
    format: TextFormat | None = None
    verbosity: str | None = None


TIERS = ("auto", "default", "flex", "priority", "scale", "fast", "ultrafast")
"""Of service, as OpenAI's clients know them."""

VERBOSITIES = ("low", "medium", "high")


def read_format(form: TextFormat, lost: Lost) -> OutputFormat | None:
    match form.type:
        case "text":
            return OutputFormat("text")
        case "json_object":
            return OutputFormat("json")
        case "json_schema":
            if not given(form.schema):
                raise UnreadableError("A format of type 'json_schema' needs a schema", "text.format.schema")
            return OutputFormat("json_schema", form.name or "", form.description or "", form.schema, form.strict)
    lost.field("text.format")
    return None


def write_format(output: OutputFormat) -> TextFormat:
    match output.kind:
        case "text":
            return TextFormat("text")
        case "json":
            return TextFormat("json_object")
        case "json_schema":
            schema = output.schema if output.schema is not None else msgspec.Raw(b"{}")
            # The name is required; the default of `strict` is false, here as elsewhere.
            return TextFormat("json_schema", output.name or "answer", output.description or None, schema, output.strict)
