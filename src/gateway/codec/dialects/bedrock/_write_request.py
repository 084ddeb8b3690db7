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
| `tool_choice` "none" | no tools, where none was called yet; else lost: Bedrock refuses calls without tools |
| images, documents, sound and video behind an address | lost, but for objects of S3 |
| `seed`, penalties, `logit_bias`, `logprobs`, `choices`, `verbosity`, any JSON, `top_k` of most models | lost |

Source: AWS's API reference, "Converse", and its user guide of Amazon Bedrock.
"""

from __future__ import annotations

from typing import Any

from gateway.base.messages import Lost, Request
from gateway.codec.dialects.bedrock._families import family_of
from gateway.codec.dialects.bedrock._settings import encode, takes_strict, write_settings
from gateway.codec.dialects.bedrock._write_blocks import Writer, content_of, has_calls


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
    forbidden = request.tool_choice is not None and request.tool_choice.mode == "none"
    if tools and not (forbidden and not has_calls(turns)):
        out["toolConfig"] = {"tools": tools}
    write_settings(request, family, out, lost)
    return encode(out)
