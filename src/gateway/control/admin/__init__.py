"""The control plane: the admin API, fleet metrics, a small page for people. Litestar on Granian, in its own process.

    _server     Granian on the supervisor's socket, from start to SIGTERM
    _observer   what surrounds every request: deadlines, headers, log lines, figures
    _app        Litestar, put together; the OpenAPI document
    _access     the token, who needs it, and what wrong ones cost
    _routes     the endpoints
    _control    what they do: keys, usage, status, readiness
    _models     what goes in and out
    _errors     the one shape of an error
    _node       the node's ops listener, asked
    _page       GET /

Nothing here is on the request path of applications, and nothing here needs the data plane to be up. What blocks
(SQLite, files) runs on threads. The token is never logged, nor is a key's secret: it is shown once, to who made it.
"""

from gateway.control.admin._server import serve_admin
from gateway.control.admin._services import Log, Services

__all__ = ["Log", "Services", "serve_admin"]
