"""The endpoints. Each says with `**PUBLIC` or `**TOKEN` who may ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from gateway.base.ports import Grouping
from gateway.control.admin._access import PUBLIC, TOKEN
from gateway.control.admin._control import Control
from gateway.control.admin._errors import CODES, AdminError
from gateway.control.admin._metrics import Metrics
from gateway.control.admin._models import (
    ErrorAnswer,
    KeyInfo,
    KeyList,
    KeyRequest,
    NewKey,
    RecentRequests,
    StatusReport,
    UsageReport,
)
from gateway.control.admin._page import CONTENT_SECURITY_POLICY, PAGE

DEFAULT_SPAN = timedelta(days=30)
"""Of the usage that is summed when `since` is not given."""
_EPOCH = datetime.fromtimestamp(0, UTC)
TEXT, HTML, PROMETHEUS = "text/plain", "text/html", "text/plain; version=0.0.4"
"""Litestar adds `; charset=utf-8` to each."""

Instant = Annotated[
    str | None,
    QueryParameter(description="RFC 3339, or a day; UTC where it names no offset.", examples=None),
]


def _errors(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(ErrorAnswer, description=CODES[status], generate_examples=False) for status in statuses
    }


# -- the control plane itself


@get("/", **PUBLIC, include_in_schema=False)
async def page() -> Response[bytes]:
    return Response(PAGE, media_type=HTML, headers={"content-security-policy": CONTENT_SECURITY_POLICY})


@get("/healthz", **PUBLIC, summary="Whether the process answers", media_type=TEXT)
async def healthz() -> str:
    return "ok\n"


@get("/readyz", **PUBLIC, summary="Whether keys and usage can be served", media_type=TEXT, responses=_errors(503))
async def readyz(control: NamedDependency[Control]) -> str:
    faults = await control.unready()
    if faults:
        raise AdminError(503, "; ".join(faults))
    return "ready\n"


@get("/metrics", **PUBLIC, summary="The node's metrics and the control plane's, for Prometheus", media_type=PROMETHEUS)
async def metrics(control: NamedDependency[Control], figures: NamedDependency[Metrics]) -> bytes:
    return await figures.render(control.node)


# -- the API


@get("/admin/v1/status", **TOKEN, summary="What happens now", responses=_errors(401, 429))
async def status(control: NamedDependency[Control]) -> StatusReport:
    return await control.status()


@get("/admin/v1/keys", **TOKEN, summary="All keys, revoked ones too", responses=_errors(401, 429, 503))
async def list_keys(control: NamedDependency[Control]) -> KeyList:
    return KeyList(await control.keys())


@post("/admin/v1/keys", **TOKEN, summary="Make a key", responses=_errors(400, 401, 408, 409, 413, 415, 429, 503))
async def create_key(data: JSONBody[KeyRequest], control: NamedDependency[Control]) -> NewKey:
    return await control.create_key(data)


@delete(
    "/admin/v1/keys/{key_id:str}",
    **TOKEN,
    summary="Revoke a key for ever",
    status_code=200,
    responses=_errors(401, 404, 409, 429, 503),
)
async def revoke_key(key_id: FromPath[str], control: NamedDependency[Control]) -> KeyInfo:
    return await control.revoke_key(key_id)


@get("/admin/v1/usage", **TOKEN, summary="What was used and what it cost", responses=_errors(400, 401, 429, 503))
async def usage(
    control: NamedDependency[Control],
    since: Instant = None,
    until: Instant = None,
    by: Annotated[Grouping, QueryParameter(description="What the sums are grouped by.")] = "model",
) -> UsageReport:
    end = _instant("until", until) or datetime.now(UTC)
    begin = _instant("since", since) or max(end, _EPOCH + DEFAULT_SPAN) - DEFAULT_SPAN
    if begin >= end:
        raise AdminError(400, "since: must be before until")
    return await control.usage(begin, end, by)


@get("/admin/v1/usage/records", **TOKEN, summary="The latest requests", responses=_errors(400, 401, 429, 503))
async def recent(
    control: NamedDependency[Control], limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 50
) -> RecentRequests:
    return RecentRequests(await control.recent(limit))


HANDLERS: list[HTTPRouteHandler] = [
    page,
    healthz,
    readyz,
    metrics,
    status,
    list_keys,
    create_key,
    revoke_key,
    usage,
    recent,
]


def document(content: bytes) -> HTTPRouteHandler:
    """The endpoint that serves the OpenAPI document."""

    @get("/admin/v1/openapi.json", **PUBLIC, include_in_schema=False, media_type="application/json")
    async def openapi() -> bytes:
        return content

    return openapi


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise AdminError(
            400, f'{name}: "{text[:64]}" is no time; write 2026-03-01 or 2026-03-01T12:00:00Z (a `+` as %2B)'
        ) from error
