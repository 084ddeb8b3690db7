"""Whole answers, both ways."""

from __future__ import annotations

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Answer,
    Audio,
    Block,
    Choice,
    Image,
    Lost,
    Opaque,
    Refusal,
    Request,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gateway.codec.dialects.openai_responses import _finish, _signed
from gateway.codec.dialects.openai_responses._blocks import (
    block_of_call,
    block_of_search,
    blocks_of_message,
    blocks_of_reasoning,
)
from gateway.codec.dialects.openai_responses._output import (
    CallOut,
    MessageOut,
    TextPart,
    call_item,
    custom_names,
    image_item,
    item_id,
    reasoning_item,
    response,
    signature_item,
    text_part,
)
from gateway.codec.dialects.openai_responses._settings import TIERS
from gateway.codec.dialects.openai_responses._unwrapping import unwrapped
from gateway.codec.dialects.openai_responses._usage import read_usage, write_usage
from gateway.codec.dialects.openai_responses._wire import (
    CustomToolCall,
    FunctionCall,
    MessageItem,
    OpaquePart,
    OutputText,
    ReasoningItem,
    RefusalPart,
    SearchCall,
    UnreadableError,
    kind_of,
    read_item,
)
from gateway.codec.raw import ABSENT


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class Told(msgspec.Struct):
    """A response object, as far as it is read."""

    id: str = ""
    model: str = ""
    created_at: float = 0
    status: str | None = None
    error: _Error | None = None
    incomplete_details: _Reason | None = None
    output: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = ABSENT
    service_tier: str | None = None

    @property
    def reason(self) -> str | None:
        return self.incomplete_details.reason if self.incomplete_details is not None else None


_decoder = msgspec.json.Decoder(Told)


def read_answer(body: bytes) -> Answer:
    """Raises AnswerError."""
    try:
        told = _decoder.decode(body)
        if told.status not in (None, "completed", "incomplete"):
            raise AnswerError(f"the response is {told.status}{_of_code(told)}")
        if told.output is None:
            raise AnswerError("the response has no output")
        blocks, logprobs = _read_output(told.output)
    except (msgspec.DecodeError, UnicodeDecodeError, UnreadableError, RecursionError) as error:
        raise AnswerError(f"the response cannot be read: {error}") from error
    finish = _finish.incomplete(told.reason) if told.status == "incomplete" else _finish.completed(blocks)
    return Answer(
        id=told.id,
        model=told.model,
        choices=[Choice(blocks, finish, logprobs=logprobs)],
        created_s=int(told.created_at),
        usage=read_usage(told.usage),
        service_tier=told.service_tier,
    )


def _of_code(told: Told) -> str:
    return f" ({told.error.code})" if told.error is not None and told.error.code else ""


def _read_output(output: list[msgspec.Raw]) -> tuple[list[Block], msgspec.Raw | None]:
    ignored = Lost()
    blocks: list[Block] = []
    logprobs: list[msgspec.Raw] = []
    signatures: dict[str, Signature] = {}
    for at, raw in enumerate(output):
        item = read_item(raw, f"output[{at}]", ignored)
        if isinstance(item, ReasoningItem) and (signed := _signed.call_of(item.encrypted_content or "")) is not None:
            signatures[signed[0]] = signed[1]
            continue
        blocks += blocks_of_item(item, raw, f"output[{at}]")
        if isinstance(item, MessageItem) and isinstance(item.content, list):
            for part in item.content:
                if isinstance(part, OutputText) and part.logprobs != ABSENT:
                    logprobs += _elements.decode(part.logprobs)
    for block in blocks:
        if isinstance(block, ToolCall):
            block.signature = signatures.get(block.id)
    return blocks, msgspec.Raw(msgspec.json.encode({"content": logprobs})) if logprobs else None


_elements = msgspec.json.Decoder(list[msgspec.Raw])


def blocks_of_item(item: object, raw: msgspec.Raw, path: str) -> list[Block]:
    """What an item of an output is; what is unknown in it is left out."""
    ignored = Lost()
    match item:
        case MessageItem():
            return blocks_of_message(item, path, ignored)
        case ReasoningItem():
            return blocks_of_reasoning(item)
        case FunctionCall() | CustomToolCall():
            return [block_of_call(item, path, ignored)]
        case SearchCall():
            return [block_of_search(item, raw)]
        case OpaquePart():
            return [Opaque(_signed.OWN, item.kind, raw)]
        case _:  # results of calls that the provider made itself
            return [Opaque(_signed.OWN, kind_of(raw, path), raw)]


# -- writing


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_logprobs_decoder = msgspec.json.Decoder(_Logprobs)
_encoder = msgspec.json.Encoder()


def write_answer(answer: Answer, request: Request | None = None) -> bytes:
    """The body for a caller; with the settings of the request in it, where that is given. Other choices than the first have no place."""
    made = response(answer.id, answer.model, answer.created_s, request)
    made.service_tier = answer.service_tier if answer.service_tier in TIERS else None
    made.usage = write_usage(answer.usage)
    choice = answer.choices[0] if answer.choices else Choice([])
    output = _Output(answer.id, custom_names(request) if request is not None else frozenset())
    for block in choice.blocks:
        output.add(block)
    made.output = output.items
    if choice.logprobs is not None:
        output.add_logprobs(choice.logprobs)
    status, reason = _finish.told(choice.finish, refused=output.refused)
    made.end(status, reason)
    if output.items and isinstance(last := output.items[-1], MessageOut | CallOut):
        last.status = status
    return _encoder.encode(made)


class _Output:
    """Blocks, put into items."""

    def __init__(self, response_id: str, custom: frozenset[str]) -> None:
        self.items: list[object] = []
        self.refused = False
        self._id = response_id
        self._custom = custom

    def add(self, block: Block) -> None:
        match block:
            case Text():
                self._message().content.append(text_part(block))
            case Refusal():
                self.refused = True
                self._message().content.append(RefusalPart(block.text))
            case Thinking():
                self.items.append(reasoning_item(block, self._item_id("rs")))
            case ToolCall():
                if block.signature is not None:
                    self.items.append(signature_item(block, self._item_id("rs")))
                call = block
                if block.name in self._custom and not block.custom:
                    call = ToolCall(block.id, block.name, unwrapped(block.arguments), custom=True)
                self.items.append(call_item(call, self._id, len(self.items)))
            case Opaque(_signed.OWN):
                self.items.append(block.value)
            case Image():
                if (image := image_item(block, self._item_id("ig"))) is not None:
                    self.items.append(image)
            case Audio() if block.transcript:
                self._message().content.append(TextPart(block.transcript))
            case _:  # what this dialect's clients do not know
                pass

    def _message(self) -> MessageOut:
        """The message that is being said, or a new one."""
        last = self.items[-1] if self.items else None
        if isinstance(last, MessageOut):
            return last
        message = MessageOut(self._item_id("msg"), "completed", [])
        self.items.append(message)
        return message

    def _item_id(self, prefix: str) -> str:
        return item_id(prefix, self._id, len(self.items))

    def add_logprobs(self, logprobs: msgspec.Raw) -> None:
        """To the first text, which is the only one where a provider tells any."""
        try:
            content = _logprobs_decoder.decode(logprobs).content or []
        except msgspec.ValidationError:
            return
        for item in self.items:
            for part in item.content if isinstance(item, MessageOut) else ():
                if isinstance(part, TextPart):
                    part.logprobs = list(content)
                    return
