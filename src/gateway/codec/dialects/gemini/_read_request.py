"""A caller's request, read.

Model and mode of delivery stand in the path: the request that comes out has neither (`model` is "", `stream` False).

- Consecutive contents of the model are one turn: Google's client keeps a streamed answer as one content a chunk. The pieces of a text
  and of a thought are joined again, which a signature of another provider depends on.
- A call without an id gets one from its place (`call_<content>_<part>`); a result without one answers the first call of
  its function that is still open.
- What steers only Google's models (`safetySettings`, `cachedContent`, `speechConfig`, ...) is told to `Lost` as an unknown field is.
"""

from __future__ import annotations

from collections import deque

import msgspec

from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import (
    Audio,
    Block,
    Document,
    Effort,
    HostedTool,
    Image,
    Lost,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Request,
    ResultBlock,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from gateway.codec.raw import ABSENT, given

from ._arguments import object_in, read_result
from ._body import decode
from ._media import read_media
from ._parts import join, read_part
from ._schema import json_schema
from ._wire import (
    AskedContent,
    AskedPart,
    AskedRequest,
    AskedTool,
    FunctionCallingConfig,
    FunctionDeclaration,
    FunctionResponse,
    GenerationConfig,
    Part,
    ResponsePart,
    ThinkingConfig,
    request_decoder,
)

_LEVELS: dict[str, Effort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
_NOTHING = msgspec.Raw(b"[]")
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
_HOSTED = tuple(
    (field.name, field.encode_name)
    for field in msgspec.structs.fields(AskedTool)
    if field.name not in ("function_declarations", "other")
)


def read_request(body: bytes, lost: Lost) -> Request:
    """Raises GatewayError."""
    return request_of(decode(request_decoder, body, lost), lost)


def request_of(asked: AskedRequest, lost: Lost) -> Request:
    if not asked.contents:
        raise _wrong("contents", "must hold at least one content")
    request = Request(model="", messages=_Turns(lost).read(asked.contents))
    if asked.system_instruction is not None:
        request.system = _read_system(asked.system_instruction)
    if asked.tools:
        _read_tools(request, asked.tools, lost)
    if asked.tool_config is not None and asked.tool_config.function_calling_config is not None:
        _read_choice(request, asked.tool_config.function_calling_config)
    if asked.generation_config is not None:
        _read_config(request, asked.generation_config, lost)
    if asked.labels:
        request.metadata = asked.labels
    if asked.service_tier is not None and asked.service_tier != "unspecified":
        request.service_tier = _TIERS.get(asked.service_tier.lower(), asked.service_tier)
    request.store = asked.store
    if asked.safety_settings is not ABSENT and asked.safety_settings not in (_NOTHING, ABSENT):
        lost.field("safetySettings")
    if asked.cached_content:
        lost.field("cachedContent")
    return request


def _wrong(param: str, what: str) -> GatewayError:
    return GatewayError(INVALID_VALUE, f"{param!r} {what}.", param=param)


# -- turns


class _Turns:
    """Reads contents in order, and remembers calls until they are answered."""

    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self._open: dict[str, deque[str]] = {}
        """Ids of calls without a result, by the function's name."""

    def read(self, contents: list[AskedContent]) -> list[Message]:
        messages: list[Message] = []
        for i, content in enumerate(contents):
            role = content.role
            if role == "model":
                if not messages or messages[-1].role != "assistant":
                    messages.append(Message("assistant", []))
            elif role in ("user", "function", None, ""):
                messages.append(Message("user", []))
            else:
                raise _wrong(f"contents[{i}].role", "must be 'user' or 'model'")
            self._read_content(content, i, messages[-1])
        return messages

    def _read_content(self, content: AskedContent, i: int, message: Message) -> None:
        blocks = message.blocks
        if message.role == "user":
            for j, part in enumerate(content.parts or ()):
                blocks += self._read_part(part, i, j)
            return
        seam = bool(blocks)
        for j, part in enumerate(content.parts or ()):
            for block in self._read_part(part, i, j):
                join(blocks, block, seam and j == 0)

    def _read_part(self, part: AskedPart, i: int, j: int) -> list[Block]:
        response = part.function_response
        if response is not None:
            return [self._read_response(response, i, j)]
        blocks = read_part(part, f"call_{i}_{j}")
        if part.text is None or part.function_call is not None:
            self._look_closer(part, blocks, i, j)
        elif part.inline_data is not None or part.file_data is not None:
            raise _wrong(f"contents[{i}].parts[{j}]", "must hold one kind of data")
        return blocks

    def _look_closer(self, part: AskedPart, blocks: list[Block], i: int, j: int) -> None:
        """At what is no text."""
        if not blocks:
            raise _wrong(f"contents[{i}].parts[{j}]", "must hold data")
        block = blocks[0]
        if isinstance(block, ToolCall):
            if not block.name:
                raise _wrong(f"contents[{i}].parts[{j}].functionCall.name", "is missing")
            self._open.setdefault(block.name, deque()).append(block.id)
        self._tell_name(part, block, f"contents[{i}].parts[{j}]")
        if part.video_metadata is not ABSENT and given(part.video_metadata):
            self._lost.field(f"contents[{i}].parts[{j}].videoMetadata")
        if part.media_resolution is not ABSENT and given(part.media_resolution):
            self._read_resolution(part.media_resolution, block, f"contents[{i}].parts[{j}].mediaResolution")

    def _tell_name(self, part: Part | ResponsePart, block: Block | None, path: str) -> None:
        """Only documents keep their names."""
        for name, media in (("inlineData", part.inline_data), ("fileData", part.file_data)):
            if media is not None and media.display_name and isinstance(block, Image | Audio | Video):
                self._lost.hint(f"{path}.{name}.displayName")

    def _read_resolution(self, raw: msgspec.Raw, block: Block, path: str) -> None:
        try:
            told = msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            raise _wrong(path, "cannot be read") from error
        level = told.get("level") if isinstance(told, dict) else told
        if isinstance(block, Image) and isinstance(level, str) and level in _DETAILS:
            block.detail = _DETAILS[level]
        else:
            self._lost.hint(path)

    def _read_response(self, response: FunctionResponse, i: int, j: int) -> ToolResult:
        name = response.name or ""
        if not name:
            raise _wrong(f"contents[{i}].parts[{j}].functionResponse.name", "is missing")
        content: list[ResultBlock] = []
        text, is_error = read_result(response.response)
        if text or not response.parts:
            content.append(Text(text))
        for k, part in enumerate(response.parts or ()):
            block = _read_media(part)
            if block is not None:
                content.append(block)
                self._tell_name(part, block, f"contents[{i}].parts[{j}].functionResponse.parts[{k}]")
        return ToolResult(self._answered(name, response.id or "", f"call_{i}_{j}"), content, is_error, name)

    def _answered(self, name: str, call_id: str, place: str) -> str:
        """The id of the call that a result answers."""
        calls = self._open.get(name)
        if not calls:
            return call_id or place
        if not call_id:
            return calls.popleft()
        if call_id in calls:
            calls.remove(call_id)
        return call_id


def _read_media(part: ResponsePart) -> ResultBlock | None:
    media = read_media(Part(inline_data=part.inline_data, file_data=part.file_data))
    if media is None or isinstance(media, Image | Document):
        return media
    kind = "inlineData" if part.inline_data is not None else "fileData"
    return Opaque("gemini", kind, msgspec.Raw(msgspec.json.encode(part)))


def _read_system(content: AskedContent) -> list[Block]:
    blocks: list[Block] = []
    for j, part in enumerate(content.parts or ()):
        if part.function_response is not None or part.function_call is not None:
            raise _wrong(f"systemInstruction.parts[{j}]", "must hold text")
        blocks += read_part(part, "")
    return blocks


# -- tools


def _read_tools(request: Request, tools: list[AskedTool], lost: Lost) -> None:
    for i, tool in enumerate(tools):
        for j, declared in enumerate(tool.function_declarations or ()):
            request.tools.append(_read_function(declared, f"tools[{i}].functionDeclarations[{j}]", lost))
        for field, kind in _HOSTED:
            raw = getattr(tool, field)
            if raw is not ABSENT and given(raw):
                request.hosted_tools.append(_hosted(kind, raw))
        if given(tool.other) and (found := object_in(bytes(tool.other).decode())) is not None:
            request.hosted_tools += [_hosted(kind, raw) for kind, raw in found.items()]


def _hosted(kind: str, raw: msgspec.Raw) -> HostedTool:
    return HostedTool("gemini", kind, msgspec.Raw(msgspec.json.encode({kind: raw})))


def _read_function(declared: FunctionDeclaration, path: str, lost: Lost) -> Tool:
    if not declared.name:
        raise _wrong(f"{path}.name", "is missing")
    tool = Tool(declared.name, declared.description or "")
    if given(declared.parameters_json_schema):
        tool.parameters = declared.parameters_json_schema
    elif given(declared.parameters):
        tool.parameters = json_schema(declared.parameters)
    for name, raw in (("response", declared.response), ("responseJsonSchema", declared.response_json_schema)):
        if raw is not ABSENT and given(
            raw
        ):  # what it returns: Google's client says so of each function, the model needs it not
            lost.hint(f"{path}.{name}")
    return tool


def _read_choice(request: Request, config: FunctionCallingConfig) -> None:
    names = config.allowed_function_names or []
    match (config.mode or "").upper():
        case "ANY" if len(names) == 1:
            request.tool_choice = ToolChoice("one", names[0])
        case "ANY":
            request.tool_choice = ToolChoice("required", allowed=names)
        case "NONE":
            request.tool_choice = ToolChoice("none")
        case "VALIDATED":  # as AUTO, but that calls follow their schemas
            request.tool_choice = ToolChoice("auto", allowed=names)
            for tool in request.tools:
                tool.strict = True
        case "" | "MODE_UNSPECIFIED" if not names:
            pass
        case "AUTO" | "" | "MODE_UNSPECIFIED":
            request.tool_choice = ToolChoice("auto", allowed=names)
        case _:
            raise _wrong("toolConfig.functionCallingConfig.mode", "must be AUTO, ANY, NONE or VALIDATED")


# -- generationConfig


def _read_config(request: Request, config: GenerationConfig, lost: Lost) -> None:
    request.temperature = config.temperature
    request.top_p = config.top_p
    request.top_k = int(config.top_k) if config.top_k is not None else None
    request.max_output_tokens = config.max_output_tokens
    request.choices = config.candidate_count or 1
    request.stop = config.stop_sequences or []
    request.seed = config.seed
    request.presence_penalty = config.presence_penalty
    request.frequency_penalty = config.frequency_penalty
    if config.response_logprobs:
        request.logprobs = config.logprobs or 0
    if config.thinking_config is not None:
        request.reasoning = _read_thinking(config.thinking_config)
    request.output = _read_output(config, lost)
    if config.response_modalities and [name.upper() for name in config.response_modalities] != ["TEXT"]:
        lost.field("generationConfig.responseModalities")
    if given(config.speech_config):
        lost.field("generationConfig.speechConfig")
    if given(config.image_config):
        lost.field("generationConfig.imageConfig")
    if config.media_resolution is not None:
        lost.hint("generationConfig.mediaResolution")


def _read_thinking(config: ThinkingConfig) -> Reasoning:
    reasoning = Reasoning(shown=config.include_thoughts)
    if config.thinking_level is not None and config.thinking_level.upper() != "THINKING_LEVEL_UNSPECIFIED":
        level = _LEVELS.get(config.thinking_level.upper())
        if level is None:
            raise _wrong("generationConfig.thinkingConfig.thinkingLevel", f"must be one of {', '.join(_LEVELS)}")
        reasoning.effort = level
    match config.thinking_budget:
        case None:
            pass
        case 0:
            reasoning.effort = "none"
        case -1:
            reasoning.adaptive = True
        case budget:
            reasoning.budget_tokens = budget
    return reasoning


def _read_output(config: GenerationConfig, lost: Lost) -> OutputFormat | None:
    media_type = config.response_mime_type or ""
    if media_type not in (
        "",
        "text/plain",
        "application/json",
    ):  # "text/x.enum": one of a schema's words, without quotes
        lost.field("generationConfig.responseMimeType")
        return None
    if given(config.response_json_schema):
        return OutputFormat("json_schema", schema=config.response_json_schema)
    if given(config.response_schema):
        return OutputFormat("json_schema", schema=json_schema(config.response_schema))
    if media_type == "application/json":
        return OutputFormat("json")
    return OutputFormat("text") if media_type else None
