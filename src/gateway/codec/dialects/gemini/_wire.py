"""The shapes of Gemini's wire, as far as we look into them.

Sources: Gemini API reference, "Generating content" (generateContent, Content, Part, GenerationConfig, Tool, ToolConfig, Candidate),
"Caching", "Counting tokens"; Vertex AI reference, "GenerateContentResponse" (partialArgs, trafficType); the types of Google's client
`google-genai` 3.6 for the names that both share.

Two sets. What a provider answers is read leniently: what is unknown is ignored. What a caller asks is read strictly (`Asked...`), so that a
field nobody knows is noticed; then `_names` says which it was. Google's parser takes each name in camel and in snake case; these
take the former, and `_names` rewrites the latter, slowly. Where Google's client for Python writes snake case (which it does below the
objects that it converts), both are taken here (`_Spelt`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from gateway.codec.raw import ABSENT, given

OTHER = "(other)"
"""Where `_names` puts an object of a kind that nobody knows, whole. No name of Google's has brackets."""


class _Wire(msgspec.Struct, rename="camel", omit_defaults=True):
    pass


class _Spelt(_Wire):
    """With fields `snake_NAME` for those that come in both spellings; after reading, only `NAME` is set."""

    SNAKES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.SNAKES:
            value = getattr(self, f"snake_{name}")
            if value is None or value is ABSENT:
                continue
            if given(getattr(self, name)):
                raise ValueError(f"{name!r} stands in two spellings")
            setattr(self, name, value)
            setattr(self, f"snake_{name}", ABSENT if isinstance(value, msgspec.Raw) else None)


# -- parts


class Blob(_Wire):
    mime_type: str | None = None
    data: str | None = None
    display_name: str | None = None


class FileData(_Wire):
    mime_type: str | None = None
    file_uri: str | None = None
    display_name: str | None = None


class PartialArg(_Wire):
    json_path: str | None = None
    string_value: str | None = None
    number_value: float | None = None
    bool_value: bool | None = None
    null_value: msgspec.Raw = msgspec.Raw(b"")
    """`null` or "NULL_VALUE" where it is the value, else empty."""
    will_continue: bool | None = None


class FunctionCall(_Wire):
    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = ABSENT
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class ResponsePart(_Wire):
    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(_Wire):
    id: str | None = None
    name: str | None = None
    response: msgspec.Raw = ABSENT
    parts: list[ResponsePart] | None = None


class Transcription(_Wire):
    text: str | None = None


class Part(_Wire):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: msgspec.Raw = ABSENT
    code_execution_result: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT
    audio_transcription: Transcription | None = None
    media_resolution: msgspec.Raw = ABSENT
    other: msgspec.Raw = msgspec.field(default=ABSENT, name=OTHER)


class AskedBlob(Blob, _Spelt, forbid_unknown_fields=True):
    SNAKES = ("mime_type", "display_name")
    snake_mime_type: str | None = msgspec.field(default=None, name="mime_type")
    snake_display_name: str | None = msgspec.field(default=None, name="display_name")


class AskedFileData(FileData, _Spelt, forbid_unknown_fields=True):
    SNAKES = ("mime_type", "file_uri", "display_name")
    snake_mime_type: str | None = msgspec.field(default=None, name="mime_type")
    snake_file_uri: str | None = msgspec.field(default=None, name="file_uri")
    snake_display_name: str | None = msgspec.field(default=None, name="display_name")


class AskedCall(FunctionCall, forbid_unknown_fields=True):
    pass


class AskedResponsePart(ResponsePart, _Spelt, forbid_unknown_fields=True):
    SNAKES = ("inline_data", "file_data")
    inline_data: AskedBlob | None = None
    file_data: AskedFileData | None = None
    snake_inline_data: AskedBlob | None = msgspec.field(default=None, name="inline_data")
    snake_file_data: AskedFileData | None = msgspec.field(default=None, name="file_data")


class AskedResponse(FunctionResponse, forbid_unknown_fields=True):
    parts: list[AskedResponsePart] | None = None  # type: ignore[assignment]


class AskedTranscription(Transcription, forbid_unknown_fields=True):
    pass


class AskedPart(Part, forbid_unknown_fields=True):
    inline_data: AskedBlob | None = None
    file_data: AskedFileData | None = None
    function_call: AskedCall | None = None
    function_response: AskedResponse | None = None
    audio_transcription: AskedTranscription | None = None
    video_metadata: msgspec.Raw = ABSENT


class AskedContent(_Wire, forbid_unknown_fields=True):
    role: str | None = None
    parts: list[AskedPart] | None = None


# -- a request

_Positive = Annotated[int, msgspec.Meta(ge=1)] | None
_Natural = Annotated[int, msgspec.Meta(ge=0)] | None


_Budget = Annotated[int, msgspec.Meta(ge=-1)] | None


class ThinkingConfig(_Spelt, forbid_unknown_fields=True):
    SNAKES = ("include_thoughts", "thinking_budget", "thinking_level")
    include_thoughts: bool | None = None
    thinking_budget: _Budget = None
    thinking_level: str | None = None
    snake_include_thoughts: bool | None = msgspec.field(default=None, name="include_thoughts")
    snake_thinking_budget: _Budget = msgspec.field(default=None, name="thinking_budget")
    snake_thinking_level: str | None = msgspec.field(default=None, name="thinking_level")


class GenerationConfig(_Wire, forbid_unknown_fields=True):
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[float, msgspec.Meta(ge=0)] | None = None
    candidate_count: _Positive = None
    max_output_tokens: _Positive = None
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    thinking_config: ThinkingConfig | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: _Natural = None
    response_modalities: list[str] | None = None
    media_resolution: str | None = None
    speech_config: msgspec.Raw = ABSENT
    image_config: msgspec.Raw = ABSENT


class FunctionDeclaration(_Spelt, forbid_unknown_fields=True):
    SNAKES = ("parameters_json_schema", "response_json_schema")
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    parameters_json_schema: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    snake_parameters_json_schema: msgspec.Raw = msgspec.field(default=ABSENT, name="parameters_json_schema")
    snake_response_json_schema: msgspec.Raw = msgspec.field(default=ABSENT, name="response_json_schema")


class AskedTool(_Wire, forbid_unknown_fields=True):
    function_declarations: list[FunctionDeclaration] | None = None
    google_search: msgspec.Raw = ABSENT
    google_search_retrieval: msgspec.Raw = ABSENT
    google_maps: msgspec.Raw = ABSENT
    enterprise_web_search: msgspec.Raw = ABSENT
    parallel_ai_search: msgspec.Raw = ABSENT
    exa_ai_search: msgspec.Raw = ABSENT
    retrieval: msgspec.Raw = ABSENT
    file_search: msgspec.Raw = ABSENT
    url_context: msgspec.Raw = ABSENT
    code_execution: msgspec.Raw = ABSENT
    computer_use: msgspec.Raw = ABSENT
    mcp_servers: msgspec.Raw = ABSENT
    other: msgspec.Raw = msgspec.field(default=ABSENT, name=OTHER)


class FunctionCallingConfig(_Wire, forbid_unknown_fields=True):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(_Wire, forbid_unknown_fields=True):
    function_calling_config: FunctionCallingConfig | None = None


class AskedRequest(_Wire, forbid_unknown_fields=True):
    contents: list[AskedContent] | None = None
    system_instruction: AskedContent | None = None
    generation_config: GenerationConfig | None = None
    tools: list[AskedTool] | None = None
    tool_config: ToolConfig | None = None
    labels: dict[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    safety_settings: msgspec.Raw = ABSENT
    cached_content: str | None = None
    model: str | None = None
    """The path's; in the body only where requests stand in others (countTokens, batches)."""


class AskedCount(AskedRequest, forbid_unknown_fields=True):
    generate_content_request: AskedRequest | None = None


# -- an answer


class Content(_Wire):
    parts: list[Part] | None = None


class Candidate(_Wire):
    content: Content | None = None
    finish_reason: str | None = None
    index: Annotated[int, msgspec.Meta(ge=0, le=127)] | None = None
    citation_metadata: msgspec.Raw = ABSENT
    grounding_metadata: msgspec.Raw = ABSENT
    logprobs_result: msgspec.Raw = ABSENT


class PromptFeedback(_Wire):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Response(_Wire):
    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: msgspec.Raw = ABSENT
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: msgspec.Raw = ABSENT


class _RawContent(_Wire):
    parts: list[msgspec.Raw] | None = None


class _RawCandidate(_Wire):
    content: _RawContent | None = None


class _RawResponse(_Wire):
    candidates: list[_RawCandidate] | None = None


request_decoder = msgspec.json.Decoder(AskedRequest)
count_decoder = msgspec.json.Decoder(AskedCount)
response_decoder = msgspec.json.Decoder(Response)
_raw_decoder = msgspec.json.Decoder(_RawResponse)


def raw_part(body: bytes, candidate: int, part: int) -> msgspec.Raw:
    """A part of an answer that `response_decoder` has read already, as it came."""
    found = _raw_decoder.decode(body).candidates
    assert found is not None
    content = found[candidate].content
    assert content is not None and content.parts is not None
    return content.parts[part]
