"""The canonical form: what a conversation, an answer and a stream of one are, whichever dialect they are written in.

A codec of each dialect reads into it and writes out of it, so that n dialects need n codecs and not n * n. Where caller and provider
speak the same dialect it is not used: bytes pass as they are.

Rules.
- The form holds whatever two dialects have in common, in the words of neither. What only one dialect knows stands in `Opaque` (a block)
  or is told to `Lost` (a field), so that nothing vanishes unseen.
- JSON that we do not look into (schemas of tools, arguments of calls) is kept as the text it came as.
- What a provider signed for itself (`Thinking.signature`, `ToolCall.signature`) is bound to its dialect: another one never gets it.
- Values are mutable structs without cycles; whoever reads a request owns it.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from _fastpath.usage import Usage

DialectName = Literal["openai_chat", "openai_responses", "anthropic", "gemini", "bedrock"]


class _Value(msgspec.Struct, kw_only=False, omit_defaults=True):
    """Comparable, cheap; positional."""


# -- what blocks are made of


class CacheMark(_Value):
    """The prompt up to here, this block among it, is worth keeping."""

    ttl: str = ""
    """As providers write it: "5m", "1h"; "" for their default."""


class Inline(_Value, tag="inline"):
    """Bytes that came with the request."""

    media_type: str
    """Such as "image/png"; "" where nobody said."""
    data: str
    """In base64, as it came."""


class Address(_Value, tag="url"):
    """Bytes that the provider fetches: an http(s) or gs URL. Never fetched by us."""

    url: str
    media_type: str = ""


class StoredFile(_Value, tag="file"):
    """Bytes that the provider keeps under an id."""

    id: str
    media_type: str = ""


Source: TypeAlias = Inline | Address | StoredFile


class Signature(_Value):
    """What a provider wants back as it was, to trust its own words."""

    dialect: DialectName
    value: str


class Citation(_Value):
    """What a text relies on."""

    url: str = ""
    title: str = ""
    quote: str = ""
    document: int | None = None
    """Which of the request's documents, from 0."""
    start: int | None = None
    """Characters of the text that it belongs to, [start, end)."""
    end: int | None = None
    raw: msgspec.Raw | None = None
    """In the words of `dialect`, where they say more."""
    dialect: DialectName | None = None


# -- blocks


class Text(_Value, tag="text"):
    text: str
    cache: CacheMark | None = None
    citations: list[Citation] = []


class Image(_Value, tag="image"):
    source: Source
    detail: str = ""
    """One of "low", "high", "auto", "original"; "" where nobody said."""
    cache: CacheMark | None = None


class Audio(_Value, tag="audio"):
    source: Source
    transcript: str = ""
    cache: CacheMark | None = None


class Video(_Value, tag="video"):
    source: Source
    cache: CacheMark | None = None


class Document(_Value, tag="document"):
    """A PDF, or a text that may be cited."""

    source: Source | None = None
    text: str | None = None
    """In place of `source`: the document is this plain text."""
    title: str = ""
    context: str = ""
    citations: bool = False
    """Answers may cite it."""
    cache: CacheMark | None = None


class Thinking(_Value, tag="thinking"):
    """What a model thought before it answered."""

    text: str = ""
    """"" where it is hidden."""
    signature: Signature | None = None
    redacted: bool = False
    """`signature` holds all of it, encrypted."""
    summary: bool = False
    """`text` is a summary of the thought and not the thought."""


class ToolCall(_Value, tag="tool_call"):
    id: str
    name: str
    arguments: str
    """A JSON object as text; what a model wrote need not be valid. For a custom tool the input itself."""
    custom: bool = False
    """The tool takes free text."""
    signature: Signature | None = None
    cache: CacheMark | None = None


class ToolResult(_Value, tag="tool_result"):
    call_id: str
    content: list[ResultBlock] = []
    is_error: bool = False
    name: str = ""
    """Of the tool; "" where the dialect tells only the id (then the call that came before has it)."""
    cache: CacheMark | None = None


class Refusal(_Value, tag="refusal"):
    """The model declines, in these words."""

    text: str


class Opaque(_Value, tag="opaque"):
    """A block that only its own dialect knows, such as a search that the provider ran. It goes back to that dialect as it came."""

    dialect: DialectName
    kind: str
    """Its `type` there."""
    value: msgspec.Raw
    cache: CacheMark | None = None


ResultBlock: TypeAlias = Text | Image | Document | Opaque
Block: TypeAlias = Text | Image | Audio | Video | Document | Thinking | ToolCall | ToolResult | Refusal | Opaque

Role = Literal["system", "user", "assistant"]


class Message(_Value):
    """One turn. Results of tools stand in turns of the user; instructions amid a conversation in turns of the system."""

    role: Role
    blocks: list[Block]
    name: str = ""
    """Of the speaker."""


# -- a request


class Tool(_Value):
    """What the model may call."""

    name: str
    description: str = ""
    parameters: msgspec.Raw | None = None
    """JSON Schema of the arguments; None for none."""
    strict: bool | None = None
    custom: bool = False
    """It takes free text, of the form that `grammar` tells."""
    grammar: msgspec.Raw | None = None
    cache: CacheMark | None = None


class HostedTool(_Value):
    """What the provider runs itself: search, code, computer use. Only its own dialect has it."""

    dialect: DialectName
    kind: str
    value: msgspec.Raw
    """The whole entry as it came."""


class ToolChoice(_Value):
    mode: Literal["auto", "none", "required", "one"] = "auto"
    name: str = ""
    """Of the one."""
    allowed: list[str] = []
    """With "auto" or "required": only these; [] for all."""


class OutputFormat(_Value):
    """What the answer must be."""

    kind: Literal["text", "json", "json_schema"]
    name: str = ""
    description: str = ""
    schema: msgspec.Raw | None = None
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(_Value):
    """How much a model may think before it answers."""

    effort: Effort | None = None
    budget_tokens: int | None = None
    adaptive: bool = False
    """The model decides how much."""
    shown: bool | None = None
    """Whether the caller wants to see the thoughts (or a summary); None: as the provider does."""


class Request(_Value, kw_only=True):
    """What is asked for. None: the caller has said nothing, and the provider's own default holds."""

    model: str
    messages: list[Message]
    system: list[Block] = []
    """Instructions before the conversation."""
    stream: bool = False
    include_usage: bool = True
    """The caller wants a stream to tell what was used; only OpenAI's chat dialect leaves a choice."""
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    tools: list[Tool] = []
    hosted_tools: list[HostedTool] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    choices: int = 1
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: msgspec.Raw | None = None
    logprobs: int | None = None
    """How many alternatives of each token; 0: only the token's own."""
    user: str | None = None
    """An opaque name of the end user, for the provider's abuse checks."""
    metadata: dict[str, str] = {}
    service_tier: str | None = None
    store: bool | None = None


# -- an answer

Finish = Literal[
    "stop", "stop_sequence", "length", "context_length", "tool_calls", "content_filter", "refusal", "pause"
]
"""Why an answer has ended.

"length": the caller's bound; "context_length": the model's window; "pause": the provider's own tools want another turn.
"""


class Choice(_Value):
    blocks: list[Block]
    finish: Finish | None = None
    stop_sequence: str = ""
    """The one that was met, where `finish` is "stop_sequence"."""
    logprobs: msgspec.Raw | None = None
    """In the words of OpenAI's chat dialect."""


class Answer(_Value, kw_only=True):
    id: str
    """The provider's own."""
    model: str
    choices: list[Choice]
    created_s: int = 0
    """Unix time; 0 where nobody said."""
    usage: Usage | None = None
    service_tier: str | None = None


# -- a stream of one, in the order: Began, (BlockBegan, Delta*, BlockEnded)*, Finished a choice, Used, Ended


class Began(_Value, tag="began"):
    id: str
    model: str
    created_s: int = 0
    usage: Usage | None = None
    """What is known of the prompt already."""


class BlockBegan(_Value, tag="block_began"):
    """A block with what is known of it: text, arguments and thought are empty; an opaque block or an image is whole.

    Blocks of several calls may be open at once: `index` tells them apart, counted from 0 within a choice.
    """

    index: int
    block: Block
    choice: int = 0


class Delta(_Value, tag="delta"):
    """More of an open block."""

    index: int
    kind: Literal["text", "thinking", "arguments", "refusal", "audio", "transcript"]
    text: str
    choice: int = 0


class Signed(_Value, tag="signed"):
    """The signature of an open block."""

    index: int
    signature: Signature
    choice: int = 0


class Cited(_Value, tag="cited"):
    """A citation of an open block of text."""

    index: int
    citation: Citation
    choice: int = 0


class BlockEnded(_Value, tag="block_ended"):
    index: int
    choice: int = 0


class Finished(_Value, tag="finished"):
    """A choice is complete."""

    finish: Finish
    stop_sequence: str = ""
    choice: int = 0


class Used(_Value, tag="used"):
    """What the whole answer has used so far; the last one counts."""

    usage: Usage


class Ended(_Value, tag="ended"):
    """The dialect's own terminal: the answer is whole."""


class Failed(_Value, tag="failed"):
    """The provider tells an error; nothing follows that counts."""

    message: str
    code: str = ""


class Noted(_Value, tag="noted"):
    """The stream is alive: a ping, or an event of a type that nobody knows yet."""

    kind: str = ""


Event: TypeAlias = Began | BlockBegan | Delta | Signed | Cited | BlockEnded | Finished | Used | Ended | Failed | Noted


# -- what a translation cannot carry


_INDEX = re.compile(r"\[\d+\]")


def plain_path(path: str) -> str:
    """Without indices: `tools[3].strict` is `tools.strict`."""
    return _INDEX.sub("", path)


class Lost:
    """Fields of a request that its new dialect has no place for.

    A *hint* changes what an answer costs or who is told of it, not what it says: a cache mark, metadata, a tier. Leaving one out is
    always admissible, and told. Anything else is left out only where the configuration says so.
    """

    __slots__ = ("fields", "hints", "more", "overflows")

    MAX_FIELDS = 100
    """Of each list."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        """Paths in the caller's own words, such as `messages[2].content[0].citations`."""
        self.hints: list[str] = []
        self.more: list[str] = []
        """Where `fields` is full: paths without their indices, such as `tools.strict` of the hundredth tool."""
        self.overflows = False
        """There are still more."""

    def field(self, path: str) -> None:
        if len(self.fields) < self.MAX_FIELDS:
            if path not in self.fields:
                self.fields.append(path)
        elif (plain := plain_path(path)) not in self.more:
            if len(self.more) < self.MAX_FIELDS:
                self.more.append(plain)
            else:
                self.overflows = True

    def hint(self, path: str) -> None:
        if len(self.hints) < self.MAX_FIELDS and path not in self.hints:
            self.hints.append(path)
