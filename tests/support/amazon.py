"""Amazon's side of Bedrock: frames as it writes them, and signatures as it checks them. Both are botocore's doing, or held against it."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
STREAM_TYPE = "application/vnd.amazon.eventstream"

Frame = tuple[str, Any]
"""(type of the event, its payload); that of an exception begins with `exception:`, of an error of the transport with `error:`."""


# -- frames


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame whose headers are all text."""
    written = b"".join(
        bytes([len(name.encode())]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 12 + len(written) + len(payload) + 4, len(written))
    message = prelude + struct.pack(">I", crc32(prelude)) + written + payload
    return message + struct.pack(">I", crc32(message))


def event_frame(name: str, payload: Any) -> bytes:
    if name.startswith("error:"):
        told = {":message-type": "error", ":error-code": name.removeprefix("error:"), ":error-message": payload}
        return frame(told, b"")
    return raw_frame(name, json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())


def raw_frame(name: str, payload: bytes) -> bytes:
    """As Bedrock writes it: the type of the content stands between the others."""
    _, colon, named = name.partition(":")
    told = {":exception-type": named} if colon else {":event-type": name}
    message = {":content-type": "application/json", ":message-type": "exception" if colon else "event"}
    return frame({**told, **message}, payload)


def stream_of(frames: Iterable[Frame]) -> bytes:
    return b"".join(event_frame(name, payload) for name, payload in frames)


# -- signatures


def signature_fault(
    head: bytes,
    body: bytes,
    *,
    secret: str = SECRET_KEY,
    token: str = "",
    region: str = REGION,
    service: str = "bedrock",
) -> str:
    """Why the signature of a request is refused; "" where it is not.

    Args:
        head: as it arrived, without the blank line.
    """
    line, *rest = head.decode().split("\r\n")
    method, path, _ = line.split(" ")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest if each)}
    shown = headers.get("authorization", "")
    if not shown.startswith("AWS4-HMAC-SHA256 Credential="):
        return "it is not signed"
    parts = dict(part.split("=", 1) for part in shown.removeprefix("AWS4-HMAC-SHA256 ").split(", "))
    names = parts["SignedHeaders"].split(";")
    if not {"host", "x-amz-date"} <= set(names) or any(n.startswith("x-amz-") and n not in names for n in headers):
        return f"it signs {names}"
    if headers.get("x-amz-security-token", "") != token:
        return "it has another session token"
    request = AWSRequest(method, f"https://{headers['host']}{path}", {name: headers[name] for name in names}, data=body)
    request.context["timestamp"] = headers["x-amz-date"]
    key, *scope = parts["Credential"].split("/")
    if (key, scope) != (ACCESS_KEY, [headers["x-amz-date"][:8], region, service, "aws4_request"]):
        return f"its scope is {parts['Credential']}"
    auth = SigV4Auth(Credentials(ACCESS_KEY, secret, token or None), service, region)
    canonical = auth.canonical_request(request)
    wanted = auth.signature(auth.string_to_sign(request, canonical), request)
    return "" if wanted == parts["Signature"] else f"its signature is not of {canonical!r}"


# -- what Bedrock takes


def _service_model() -> ServiceModel:
    session = botocore.session.Session()
    return ServiceModel(session.get_component("data_loader").load_service_model("bedrock-runtime", "service-2"))


MODEL = _service_model()


def request_faults(body: bytes, model: str = "m") -> str:
    """What botocore's model of the service finds wrong with a request of Converse; "" for nothing."""
    shape = MODEL.operation_model("Converse").input_shape
    asked = {**json.loads(body), "modelId": model}
    report = ParamValidator().validate(asked, shape).generate_report()
    return "; ".join([*([report] if report else []), *_bad_texts(asked, shape, "")])


def _bad_texts(value: Any, shape: Any, path: str) -> Iterator[str]:
    """Texts that are none of those which the model lists, or do not fit its pattern: what the validator leaves to the service."""
    if getattr(shape, "is_document_type", False) or path == ".modelId":
        return
    match shape.type_name:
        case "structure":
            for name, inner in value.items():
                if name in shape.members:
                    yield from _bad_texts(inner, shape.members[name], f"{path}.{name}")
        case "list":
            for i, inner in enumerate(value):
                yield from _bad_texts(inner, shape.member, f"{path}[{i}]")
        case "string":
            listed, pattern = shape.enum, shape.metadata.get("pattern")
            if (listed and value not in listed) or (pattern and not re.fullmatch(pattern, value)):
                yield f"{path}: {value!r} is none of {listed or pattern}"


def answer_faults(answer: Any) -> str:
    """The same of a whole answer."""
    shape = MODEL.operation_model("Converse").output_shape
    report = ParamValidator().validate(answer, shape).generate_report()
    return "; ".join([*([report] if report else []), *_bad_texts(answer, shape, "")])
