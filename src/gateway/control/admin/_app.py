"""Litestar, put together."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.serialization import encode_json

from gateway import __version__
from gateway.control.admin import _routes
from gateway.control.admin._access import Access, Gatekeeper, refuse_unknown_query
from gateway.control.admin._control import Control
from gateway.control.admin._errors import AdminError, handlers
from gateway.control.admin._metrics import Metrics
from gateway.control.admin._models import MODELS
from gateway.control.admin._services import Log

MAX_BODY_BYTES = 65_536
_REFERENCE = "#/components/schemas/{name}"


class StrictRequest(Request[Any, Any, Any]):
    """Litestar coerces bodies ("5" to 5); this one decodes them as they are declared, and says what does not fit."""

    async def json(self) -> Any:
        """The body as the type that the handler declares. Raises AdminError (400, 415)."""
        if self.content_type[0] != "application/json":
            raise AdminError(415, "the endpoint takes `content-type: application/json`")
        declared = self.route_handler.parsed_data_field
        assert declared is not None
        try:
            return msgspec.json.decode(await self.body(), type=declared.annotation)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AdminError(400, f"body: {error}") from error


def build_app(control: Control, gatekeeper: Gatekeeper, metrics: Metrics, log: Log) -> Litestar:
    """The application, with its OpenAPI document."""

    def provide_control() -> Control:
        return control

    def provide_metrics() -> Metrics:
        metrics.wrong_tokens = gatekeeper.failures
        return metrics

    def make(*more: Any, openapi: OpenAPIConfig | None) -> Litestar:
        return Litestar(
            [*_routes.HANDLERS, *more],
            dependencies={
                "control": Provide(provide_control, sync_to_thread=False),
                "figures": Provide(provide_metrics, sync_to_thread=False),
            },
            guards=[gatekeeper, refuse_unknown_query],
            exception_handlers=handlers(log),
            request_class=StrictRequest,
            request_max_body_size=MAX_BODY_BYTES,
            logging_config=None,
            openapi_config=openapi,
        )

    # Litestar would serve the document beside a catch-all of its own: so one application describes, another serves.
    # Of msgspec's constraints it describes some wrongly and leaves out others; msgspec describes its structs itself.
    described = make(openapi=_openapi_config()).openapi_schema.to_schema()
    _, described["components"]["schemas"] = msgspec.json.schema_components(MODELS, ref_template=_REFERENCE)
    app = make(_routes.document(encode_json(described)), openapi=None)
    _check_access(app)
    return app


def _check_access(app: Litestar) -> None:
    """Raises RuntimeError when a handler declares no access. Litestar's own answers to OPTIONS declare none: token."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if handler.http_methods != {"OPTIONS"} and not isinstance(handler.opt.get("access"), Access):
                raise RuntimeError(f"{route.path}: a handler must be declared with **PUBLIC or **TOKEN")


def _openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Throughway admin API",
        version=__version__,
        description='Errors are `{"error": {"code", "message"}}`.',
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    description="`admin.token`, or the file `admin-token` of the state directory.",
                )
            }
        ),
    )
