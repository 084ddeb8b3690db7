"""Connections to Redis in each of its forms, with a bound on every wait, and its errors in one shape.

Nothing is tried again here: who asks knows best when to ask again.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from gateway.base.redis_url import RedisUrl

CONNECT_S = 1.0
"""For each address to accept, TLS included."""
SOCKET_S = 1.5
"""For each write and each read."""


class RedisDownError(OSError):
    """Redis cannot be had, or refuses what was asked. The message is one line and holds no password."""


class PubSub(Protocol):
    """What is used of redis-py's."""

    def subscribe(self, *channels: str) -> object: ...
    def ping(self) -> object: ...
    def get_message(self, ignore_subscribe_messages: bool = ..., timeout: float = ...) -> dict[str, Any] | None: ...
    def close(self) -> None: ...


class Client(Protocol):
    """What is used of redis-py's clients. Commands go as they are: redis-py's own wrappers differ from form to form."""

    def getrange(self, name: str, start: int, end: int) -> bytes: ...
    def set(self, name: str, value: bytes, *, nx: bool = ...) -> object: ...
    def lrange(self, name: str, start: int, end: int) -> list[bytes]: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes | int) -> Any: ...
    def pubsub(self) -> PubSub: ...
    def close(self) -> None: ...


def connect(url: RedisUrl, *, connect_s: float = CONNECT_S, socket_s: float = SOCKET_S) -> Client:
    """A client. A single server is asked nothing yet; Sentinels are, with each new connection; a Cluster at once.

    Raises:
        RedisDownError: no node of a Cluster answers.
    """
    options = _options(url, connect_s, socket_s)
    with translated(url):
        if url.path is not None:
            return cast(Client, redis.Redis(unix_socket_path=url.path, db=url.db, **options))
        if url.form == "cluster":
            nodes = [ClusterNode(host, port) for host, port in url.hosts]  # type: ignore[no-untyped-call]
            options["retry"] = Retry(NoBackoff(), 1)  # once more, over a map of the slots that was read anew
            return cast(Client, RedisCluster(startup_nodes=nodes, **options))
        if url.form == "sentinel":
            watchers = {**options, "username": url.sentinel_username, "password": url.sentinel_password}
            sentinel = Sentinel(url.hosts, sentinel_kwargs=watchers, **options)  # type: ignore[no-untyped-call]
            return cast(Client, sentinel.master_for(url.service, db=url.db))  # type: ignore[no-untyped-call]
        ((host, port),) = url.hosts
        return cast(Client, redis.Redis(host=host, port=port, db=url.db, **options))


def _options(url: RedisUrl, connect_s: float, socket_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "socket_connect_timeout": connect_s,
        "socket_timeout": socket_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if url.tls:
        options |= {
            "ssl": True,
            "ssl_ca_certs": url.ssl_ca_certs,
            "ssl_certfile": url.ssl_certfile,
            "ssl_keyfile": url.ssl_keyfile,
            "ssl_check_hostname": url.ssl_check_hostname,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }
    return options


@contextmanager
def translated(url: RedisUrl) -> Iterator[None]:
    """Errors of redis-py and of the system become RedisDownError."""
    try:
        yield
    except RedisDownError:
        raise
    except (AuthenticationError, NoPermissionError) as error:
        raise RedisDownError(f"{url} refuses: {_one_line(error)}") from error
    except (RedisError, RedisClusterException, OSError) as error:
        raise RedisDownError(f"{url} cannot be used: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
