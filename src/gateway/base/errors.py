"""Every error that a caller can see, in one catalogue, and the errors of configuration.

`docs/errors.md` is generated from CATALOGUE (`python -m gateway.base.errors`). A codec gives each the wire shape of its dialect.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Source(StrEnum):
    """Who can mend it."""

    CALLER = "caller"
    PROVIDER = "provider"
    GATEWAY = "gateway"


class Fault(msgspec.Struct, frozen=True):
    """One row of the catalogue."""

    code: str
    status: int
    type: str
    """OpenAI's `error.type`."""
    source: Source
    retry: bool
    """Whether the same request can succeed later."""
    meaning: str
    """For the documentation: what happened and what to do."""


def _fault(code: str, status: int, type_: str, source: Source, meaning: str, *, retry: bool = False) -> Fault:
    fault = Fault(code, status, type_, source, retry, meaning)
    assert code not in CATALOGUE, code
    CATALOGUE[code] = fault
    return fault


CATALOGUE: dict[str, Fault] = {}

_CALLER, _PROVIDER, _GATEWAY = Source.CALLER, Source.PROVIDER, Source.GATEWAY
_INVALID = "invalid_request_error"

BAD_REQUEST = _fault(
    "bad_request",
    400,
    _INVALID,
    _CALLER,
    "The bytes are no acceptable HTTP/1.1 request (RFC 9112). The connection is closed.",
)
INVALID_JSON = _fault(
    "invalid_json",
    400,
    _INVALID,
    _CALLER,
    "The body is not valid JSON or not valid UTF-8; the message gives the byte offset.",
)
JSON_TOO_DEEP = _fault(
    "json_too_deep", 400, _INVALID, _CALLER, "The body nests objects and arrays deeper than 100 levels."
)
DUPLICATE_KEY = _fault(
    "duplicate_key",
    400,
    _INVALID,
    _CALLER,
    "A top-level key stands twice in the body, and two readers could differ on which one counts. Send it once.",
)
INVALID_VALUE = _fault(
    "invalid_value", 400, _INVALID, _CALLER, "A field is missing, of the wrong type or out of range; `param` names it."
)
UNSUPPORTED_PARAMETER = _fault(
    "unsupported_parameter",
    400,
    _INVALID,
    _CALLER,
    "The model is served by a provider of another dialect, which has no place for a field of the request; the message names it. Leave it out, "
    "or let the model's `drop_params` admit that it is dropped.",
)
ENDPOINT_NOT_SERVED = _fault(
    "endpoint_not_served",
    400,
    _INVALID,
    _CALLER,
    "No provider of this model has the endpoint: a text completion, an embedding, an image, asked of a kind that has none.",
)
MODEL_CANNOT_SERVE = _fault(
    "model_cannot_serve",
    400,
    _INVALID,
    _CALLER,
    "The model is known not to take what the request holds (images, audio, video, PDF documents), or to have no tools or no structured output; "
    "nor do its fallbacks. The message names what it lacks, and models of the key that may serve it. No provider was asked.",
)
CONTEXT_LENGTH_EXCEEDED = _fault(
    "context_length_exceeded",
    400,
    _INVALID,
    _CALLER,
    "The prompt is longer than the context of the model, and of its fallbacks. Shorten it, or ask one of the models that the message names. No "
    "provider was asked.",
)
MISSING_MODEL = _fault("missing_model", 400, _INVALID, _CALLER, "The body has no `model`.")
INVALID_KEY = _fault(
    "invalid_api_key",
    401,
    "authentication_error",
    _CALLER,
    "No key was sent, or two that differ, or one that is unknown or was revoked. Send `Authorization: Bearer KEY`, `x-api-key`, `api-key` or "
    "`x-goog-api-key`, one of them.",
)
KEY_EXPIRED = _fault(
    "api_key_expired",
    401,
    "authentication_error",
    _CALLER,
    "The key was made for a certain time, which is over. Ask for another one.",
)
BUDGET_EXCEEDED = _fault(
    "budget_exceeded",
    402,
    "insufficient_quota",
    _CALLER,
    "The key's or the team's budget for this period is spent. It opens again with the next period, or when the budget is raised.",
)
MODEL_NOT_ALLOWED = _fault("model_not_allowed", 403, "permission_error", _CALLER, "The key may not use this model.")
PASSTHROUGH_NOT_ALLOWED = _fault(
    "passthrough_not_allowed",
    403,
    "permission_error",
    _CALLER,
    "The provider does not admit what was asked of it at `/{provider}/...`, or the key may not ask it there. The message says which; "
    "`passthrough` of the provider and of the key admit it.",
)
NOT_FOUND = _fault("not_found", 404, _INVALID, _CALLER, "No endpoint has this path.")
MODEL_NOT_FOUND = _fault(
    "model_not_found",
    404,
    _INVALID,
    _CALLER,
    "No model has this name. GET /v1/models lists those that the key may use.",
)
RESPONSE_NOT_FOUND = _fault(
    "response_not_found",
    404,
    _INVALID,
    _CALLER,
    "No provider keeps a response of this id that the key, or its team, has made. In `previous_response_id` it is a 400.",
)
METHOD_NOT_ALLOWED = _fault(
    "method_not_allowed",
    405,
    _INVALID,
    _CALLER,
    "The endpoint does not answer this method; `allow` lists those it does.",
)
REQUEST_TIMEOUT = _fault(
    "request_timeout", 408, _INVALID, _CALLER, "The head or the body of the request did not arrive in time.", retry=True
)
BODY_TOO_LARGE = _fault(
    "body_too_large", 413, _INVALID, _CALLER, "The body is larger than the listener takes (32 MiB by default)."
)
URI_TOO_LONG = _fault("uri_too_long", 414, _INVALID, _CALLER, "The request target is longer than 8 KiB.")
UNSUPPORTED_MEDIA_TYPE = _fault(
    "unsupported_media_type",
    415,
    _INVALID,
    _CALLER,
    "The endpoint takes `content-type: application/json`, without content-encoding.",
)
EXPECTATION_FAILED = _fault(
    "expectation_failed", 417, _INVALID, _CALLER, "`expect` holds something else than `100-continue`."
)
HEADERS_TOO_LARGE = _fault(
    "headers_too_large", 431, _INVALID, _CALLER, "The request's head is larger than 64 KiB or has more than 100 fields."
)
RATE_LIMIT_EXCEEDED = _fault(
    "rate_limit_exceeded",
    429,
    "rate_limit_error",
    _CALLER,
    "A limit of requests or tokens a minute, or of concurrent requests, is reached; the message names it. Retry after `retry-after` seconds.",
    retry=True,
)
REQUEST_TOO_LARGE = _fault(
    "request_exceeds_limit",
    429,
    "rate_limit_error",
    _CALLER,
    "The request asks for more tokens than the limit admits in a whole minute: it can never pass. Make it smaller or raise the limit.",
)
INTERNAL_ERROR = _fault(
    "internal_error", 500, "server_error", _GATEWAY, "The gateway failed. The log has the request id.", retry=True
)
NOT_IMPLEMENTED = _fault(
    "not_implemented",
    501,
    _INVALID,
    _CALLER,
    "The gateway never acts as a tunnel and speaks neither such a transfer coding nor WebSocket.",
)
PROVIDER_UNREACHABLE = _fault(
    "provider_unreachable",
    502,
    "provider_error",
    _PROVIDER,
    "No connection to the provider could be made, or it broke before an answer.",
    retry=True,
)
PROVIDER_PROTOCOL_ERROR = _fault(
    "provider_protocol_error",
    502,
    "provider_error",
    _PROVIDER,
    "The provider's answer breaks HTTP or its own dialect.",
    retry=True,
)
PROVIDER_ERROR = _fault(
    "provider_error",
    502,
    "provider_error",
    _PROVIDER,
    "The provider answered with an error of its own; its status, message and code are kept where it gave them.",
    retry=True,
)
PROVIDER_REJECTED = _fault(
    "provider_rejected",
    400,
    _INVALID,
    _CALLER,
    "The provider refused the request as such (400, 404, 409, 413, 415 or 422, which is kept); its message, code and param are kept.",
)
PROVIDER_RATE_LIMITED = _fault(
    "provider_rate_limited",
    429,
    "rate_limit_error",
    _PROVIDER,
    "The provider throttles this gateway. Its `retry-after` is passed on.",
    retry=True,
)
STREAM_TRUNCATED = _fault(
    "stream_truncated",
    502,
    "provider_error",
    _PROVIDER,
    "The provider's stream ended without its terminal event: what was received is incomplete.",
    retry=True,
)
OVERLOADED = _fault(
    "overloaded",
    503,
    "server_error",
    _GATEWAY,
    "The worker holds as many requests or bytes as it is allowed. Retry after `retry-after` seconds.",
    retry=True,
)
PROVIDER_BUSY = _fault(
    "provider_pool_exhausted",
    503,
    "server_error",
    _GATEWAY,
    "All connections that this worker may open to the provider are in use.",
    retry=True,
)
PROVIDER_CREDENTIAL_MISSING = _fault(
    "provider_credential_missing",
    503,
    "server_error",
    _GATEWAY,
    "The gateway has no valid token for the provider (`providers.*.auth`): its issuer has not answered yet, or refuses. It goes on asking; the log has "
    "`credential.failed` and why.",
    retry=True,
)
PROVIDER_TIMEOUT = _fault(
    "provider_timeout",
    504,
    "provider_error",
    _PROVIDER,
    "The provider did not connect, answer or go on in time; the message names which.",
    retry=True,
)
DEADLINE_EXCEEDED = _fault(
    "deadline_exceeded", 504, _INVALID, _CALLER, "The deadline of `x-throughway-timeout-ms` passed.", retry=True
)
VERSION_NOT_SUPPORTED = _fault(
    "http_version_not_supported",
    505,
    _INVALID,
    _CALLER,
    "`listen` speaks HTTP/1.0 and HTTP/1.1, `http2` HTTP/1.1 and HTTP/2.",
)
CLIENT_CLOSED = _fault(
    "client_closed_request",
    499,
    _INVALID,
    _CALLER,
    "The caller left before the answer was complete (in records and logs only: nobody is there to read it).",
)


class GatewayError(Exception):
    """A request cannot go on; becomes an answer in the caller's dialect.

    Args:
        fault: the row of the catalogue.
        message: one sentence that names what was wrong and what would be right; never holds a secret or text of a prompt.
        param: the field that is meant.
        retry_after_ms: when a retry can help.
        status: another status than the catalogue's (a provider's own 4xx that is passed on).
        fields: header lines added to the answer, each with its CRLF.
        provider_code: the provider's own code, which the caller sees instead of the catalogue's.
    """

    def __init__(
        self,
        fault: Fault,
        message: str,
        *,
        param: str | None = None,
        retry_after_ms: int = 0,
        status: int | None = None,
        fields: bytes = b"",
        provider_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.param = param
        self.retry_after_ms = retry_after_ms
        self.status = status if status is not None else fault.status
        self.fields = fields
        self.provider_code = provider_code


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a configuration."""

    file: str
    line: int
    """From 1; 0 where it belongs to no line."""
    column: int
    key: str
    """Dotted path, such as `models.gpt-4o.targets[0].provider`."""
    message: str
    """What is wrong and what would be right."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigurationError(Exception):
    """A configuration with one or more mistakes, all of them listed."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class MissingConfigurationError(ConfigurationError):
    """There is no such file."""


def catalogue_markdown() -> str:
    """`docs/errors.md`."""
    rows = [
        f"| `{f.code}` | {f.status} | `{f.type}` | {f.source} | {'yes' if f.retry else 'no'} | {f.meaning} |"
        for f in sorted(CATALOGUE.values(), key=lambda f: (f.status, f.code))
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "<!-- Generated: `python -m gateway.base.errors > docs/errors.md` -->",
            "",
            "An error has the shape of the caller's dialect. In OpenAI's it is",
            '`{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}`. In a stream that has begun it is one',
            "`data:` event of that shape, after which the stream ends without `[DONE]`.",
            "",
            "| code | status | type | whose | retry helps | meaning |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    print(catalogue_markdown(), end="")
