"""What belongs to the node, not to the snapshot: its listeners, its directories, its bounds. Read once, at start."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from gateway.base.redis_url import RedisUrl


class Address(msgspec.Struct, frozen=True):
    """A TCP address (`host`, `port`), or a Unix socket (`path`)."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerTimeouts(msgspec.Struct, frozen=True):
    """Of the edge, in milliseconds."""

    head_ms: int = 10_000
    body_gap_ms: int = 10_000
    body_ms: int = 30_000
    """A request's body has so long, and a second more for each `body_bytes_per_s` that have come of it."""
    body_bytes_per_s: int = 500
    idle_ms: int = 75_000
    write_ms: int = 60_000
    """A client that takes nothing of a waiting answer for so long is dropped."""
    write_bytes_per_s: int = 200
    """Past `write_ms`, a client that takes less of a waiting answer on average is dropped."""


class Bounds(msgspec.Struct, frozen=True):
    """Of each edge, for each worker."""

    head_bytes: int = 65_536
    body_bytes: int = 33_554_432
    all_bodies_bytes: int = 268_435_456
    """Of all request bodies that a worker holds; past it 503."""
    in_flight: int = 10_000
    """Requests that a worker has taken and not yet answered; past it 503."""
    connections: int = 8_192
    """Accepted sockets of a worker; past it new ones are closed at once."""


class Tls(msgspec.Struct, frozen=True):
    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    """The authorities whose certificates callers show; None: nobody is asked for one."""
    client_auth: Literal["required", "optional"] = "required"


class TrustedProxies(msgspec.Struct, frozen=True):
    """Who is believed about the caller's address, and in which header."""

    networks: tuple[str, ...]
    header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"


class Cors(msgspec.Struct, frozen=True):
    """What browsers are told of other origins' pages."""

    origins: tuple[str, ...]
    """Exactly as browsers write them, or "*" alone."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    headers: tuple[str, ...] | None = None
    """None: those that are asked for."""
    max_age_s: int = 7_200
    """How long a browser may remember a preflight's answer; Chromium's own bound."""


class Http2(msgspec.Struct, frozen=True):
    """The listener of the Granian edge."""

    listen: Address
    tls: Tls | None = None
    """Without it, HTTP/2 is spoken to those who know beforehand (h2c)."""
    proxy_protocol: tuple[str, ...] = ()
    """Networks from which a connection to it begins with a PROXY header."""


class Admin(msgspec.Struct, frozen=True):
    listen: Address
    token: str = msgspec.field(default="")
    """Resolved; "" where none was given, and then the control plane makes one at first start and keeps it in `state_dir`."""

    def __repr__(self) -> str:
        return f"Admin(listen={self.listen}, token=***)"


class Node(msgspec.Struct, frozen=True):
    """The node's own settings."""

    listen: Address = Address(port=8080)
    ops: Address = Address(port=8082)
    admin: Admin | None = Admin(listen=Address(port=8081))
    redis: RedisUrl | None = None
    """Where the fleet's snapshot is published; None: the node's own file is all there is."""
    state_dir: Path = Path("state")
    tls: Tls | None = None
    proxy_protocol: tuple[str, ...] = ()
    """Networks from which a connection to `listen` begins with a PROXY header."""
    trusted_proxies: TrustedProxies | None = None
    cors: Cors | None = None
    http2: Http2 | None = None
    """A second listener, which speaks HTTP/2 too; None: there is none."""
    timeouts: ServerTimeouts = ServerTimeouts()
    bounds: Bounds = Bounds()
    drain_grace_ms: int = 30_000
    lame_duck_ms: int = 0
    """How long /readyz fails before the edges stop accepting."""
    log_level: str = "info"
    spool_bytes: int = 268_435_456
    """Bound of the usage records that wait on disk."""

    # Where things lie in `state_dir`.
    @property
    def control_state_dir(self) -> Path:
        """Of a control plane that runs apart: its own lock and run files, beside the data plane's."""
        return self.state_dir / "control"

    @property
    def memory_file(self) -> Path:
        return self.state_dir / "run" / "node.mem"

    @property
    def ops_file(self) -> Path:
        """Where the ops listener of the node that runs now is: its configuration file may have changed since, or be broken."""
        return self.state_dir / "run" / "ops"

    @property
    def prices_file(self) -> Path:
        """Public prices as they were last found, for a quick start."""
        return self.state_dir / "run" / "prices.json"

    @property
    def snapshot_file(self) -> Path:
        return self.state_dir / "snapshot.json"

    @property
    def spool_dir(self) -> Path:
        return self.state_dir / "spool"

    @property
    def ledger_file(self) -> Path:
        return self.state_dir / "ledger.sqlite3"

    @property
    def keys_file(self) -> Path:
        return self.state_dir / "keys.json"

    @property
    def pepper_file(self) -> Path:
        return self.state_dir / "pepper"

    @property
    def fleet_pepper_file(self) -> Path:
        """The pepper that the fleet shares in Redis, as this node last saw it."""
        return self.state_dir / "fleet-pepper"

    @property
    def last_good_file(self) -> Path:
        """The last good release out of Redis."""
        return self.state_dir / "last-good-release"

    @property
    def admin_token_file(self) -> Path:
        return self.state_dir / "admin-token"


# -- worker slots of the node's shared memory (see `_fastpath.shm`)

STARTING, SERVING, DRAINING, RETIRING = 1, 2, 3, 4
"""Draining is the node's end, and fails /readyz; retiring is a worker's alone, whose successor serves already."""
STATE_NAMES = {0: "empty", STARTING: "starting", SERVING: "serving", DRAINING: "draining", RETIRING: "retiring"}

# The meaning of each gauge of a slot.
G_GENERATION = 0  # snapshot generation that the process runs
G_IN_FLIGHT = 1  # requests taken and not yet answered
G_CONNECTIONS = 2  # accepted sockets
G_BODY_BYTES = 3  # request bodies held
G_LOOP_LAG_US = 4  # of the last heartbeat
G_UPSTREAM_IDLE = 5  # connections to providers that wait in pools
G_UPSTREAM_BUSY = 6  # connections to providers that carry a request
G_TOKENS_IN_FLIGHT = 7  # prompt tokens of requests in flight
G_LOG_LEVEL = (
    9  # of the agent's slot: the level that all processes should log at, as an index of LOG_LEVELS; 0: unknown
)
G_ROLE = 8  # ROLE_WORKER or ROLE_AGENT
G_WORKER = 10  # of a worker: its number, from 0; while one hands over to the next, two slots have the same

ROLE_WORKER, ROLE_AGENT = 1, 2
AGENT_SLOTS = 2


def slot_count(workers: int) -> int:
    """Slots of a node's memory: two for each worker and two for the agent, since a successor starts beside the one it follows."""
    return 2 * workers + AGENT_SLOTS


HEARTBEAT_MS = 100
LOG_LEVELS = ("", "debug", "info", "warning", "error")
