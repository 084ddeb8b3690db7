"""Writes requests for Converse and ConverseStream, whose bodies are the same.

| in the canonical form | on the wire |
|---|---|
| an empty text | left out: it is refused |
| turns of one role after another | one turn; results of tools come first in it |
| a turn of the system amid the conversation | a text of the user at its place (a hint) |
| `Thinking` of another provider, or without a signature | left out (a hint) |
| `Refusal` in a turn | a text |
| a tool that takes free text | one with a parameter `input` |
| a call's id that is too long or holds other characters than Bedrock takes | cut, they become `_`, and a checksum follows; results alike |
| a result without content | the text `(no output)` |
| a document's title | its name, in the characters that Bedrock takes, made unique |
| a cache mark | a cache point behind what was marked, the last four; none for models that refuse them (a hint) |
| `tool_choice.allowed` | the other tools are left out (a hint) |
| `tool_choice` "none" | no tools, where none was called yet; else Claude is told, for others it is lost: calls of the past need tools |
| calls of the past, but no tools | Claude is offered tools of these names, and told to call none; of other models Bedrock refuses it |
| images, documents, sound and video behind an address | lost, but for objects of S3 |
| `seed`, penalties, `logit_bias`, `logprobs`, `choices`, `verbosity`, any JSON, `top_k` of most models | lost |

Source: AWS's API reference, "Converse", and its user guide of Amazon Bedrock.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.messages import Lost, Request, ToolChoice
from gateway.codec.dialects.bedrock._families import Family, family_of
from gateway.codec.dialects.bedrock._settings import encode, takes_strict, write_settings
from gateway.codec.dialects.bedrock._write_blocks import ANY_INPUT, Writer, called_tools, content_of


def write(request: Request, lost: Lost) -> bytes:
    """The body of a request.

    Raises:
        GatewayError: INVALID_VALUE with no turn that says anything, or a bound of nought.
    """
    family = family_of(request.model)
    writer = Writer(family, lost)
    tools = writer.tools(request, takes_strict(request, family))
    system = writer.system(request)
    turns = writer.turns(request)
    writer.keep_last_points()
    out: dict[str, Any] = {}
    if system:
        out["system"] = system
    out["messages"] = content_of(turns)
    called = called_tools(turns)
    may_call = request.tool_choice is None or request.tool_choice.mode != "none"
    if tools and (may_call or called):
        out["toolConfig"] = {"tools": tools}
    elif called and family is Family.CLAUDE and not request.tools:
        out["toolConfig"] = {"tools": [{"toolSpec": {"name": name, "inputSchema": ANY_INPUT}} for name in called]}
        if request.tool_choice is not None and request.tool_choice.mode in ("required", "one"):
            lost.field("tool_choice")
        request = msgspec.structs.replace(request, tool_choice=ToolChoice("none"))
    write_settings(request, family, out, lost)
    return encode(out)
