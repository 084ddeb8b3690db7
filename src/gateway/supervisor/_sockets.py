"""Listening sockets, bound before any worker starts and owned by the supervisor for life.

One socket a worker index, all of one address (SO_REUSEPORT): the kernel spreads new connections over them. A socket
whose worker has died goes on queueing; the successor inherits it and accepts what waits there, so nothing is refused
or reset. The price: until the successor accepts, its share of new connections waits. Respawning must be quick.
"""

from __future__ import annotations

import errno
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from gateway.base.node import Address
from gateway.supervisor._errors import ListenError

_SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]  # as getaddrinfo gives it

BACKLOG = 4096
"""Connections that wait for `accept`, a socket; the kernel lowers it to net.core.somaxconn."""


def bind_listeners(address: Address, count: int, beside: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Listens on `address` with `count` sockets, non-blocking, each with its own queue.

    Of them `beside` are there already: only those that are missing are bound.

    A Unix socket has no SO_REUSEPORT: the list then holds one socket `count` times. Port 0 takes a free port, the same
    for all. A name of both families is bound on IPv4; `::` takes IPv4 callers too.

    Raises:
        ListenError: one line that names the address, what is wrong and what to do.
    """
    if count < 1:
        raise ValueError(f"{count} listeners")
    try:
        if address.path is not None:
            return [] if beside else [_bind_unix(Path(address.path))] * count
        if beside:
            return _bind_more(beside[0], count - len(beside))
        return _bind_tcp(address, count)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {_explain(error, address)}") from error


def _bind_tcp(address: Address, count: int) -> list[socket.socket]:
    family, where = _resolve(address)
    if address.port != 0:
        # Two processes of one user that both ask for SO_REUSEPORT would share the port in silence. Ask once without.
        _open_tcp(family, where, shared=False).close()
    first = _listen_tcp(family, where, shared=True)  # one alone too: a restart may add workers
    try:
        return [first, *_bind_more(first, count - 1)]
    except OSError:
        first.close()
        raise


def _bind_more(first: socket.socket, count: int) -> list[socket.socket]:
    """Sockets on the address of `first`."""
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            made.append(_listen_tcp(first.family, first.getsockname(), shared=True))  # noqa: PERF401 - closed on failure
    except OSError:
        for listener in made:
            listener.close()
        raise
    return made


def spread(listeners: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """The sockets of each worker. Where there are more than workers, some get several: one that is closed loses what waits in it."""
    if len(listeners) < workers:  # a Unix socket, which all share
        return [list(listeners)] * workers
    return [list(dict.fromkeys(listeners[at::workers])) for at in range(workers)]


def _resolve(address: Address) -> tuple[socket.AddressFamily, _SocketAddress]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, where


def _open_tcp(family: socket.AddressFamily, where: _SocketAddress, *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Linux hands it on to every accepted socket. Nagle against delayed ACK stalls a stream by 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_tcp(family: socket.AddressFamily, where: _SocketAddress, *, shared: bool) -> socket.socket:
    listener = _open_tcp(family, where, shared=shared)
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Removes the file that a dead listener left: nobody answers on it. Anything else at `path` stays."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(str(path)) == errno.ECONNREFUSED
    if refused:
        path.unlink(missing_ok=True)


def _explain(error: OSError, address: Address) -> str:
    if isinstance(error, socket.gaierror):
        return f"{address.host!r} is no address and no name that resolves; write an IP address of this machine"
    if address.path is not None:
        return _explain_unix(error, Path(address.path))
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"another process uses the address; stop it (`ss -ltnp 'sport = :{address.port}'` names it) "
                "or choose another port"
            )
        case errno.EACCES | errno.EPERM:
            return "ports below 1024 need root or CAP_NET_BIND_SERVICE; grant that or choose a higher port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use one of its own, or 0.0.0.0 for all"
        case _:
            return error.strerror or str(error)


def _explain_unix(error: OSError, path: Path) -> str:
    match error.errno:
        case errno.EADDRINUSE if stat.S_ISSOCK(path.lstat().st_mode):
            return "another process answers on it; stop that process or choose another path"
        case errno.EADDRINUSE:
            return "a file that is no socket lies there; move it away or choose another path"
        case errno.ENOENT:
            return f"the folder {path.parent} does not exist; make it or choose another path"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"the folder {path.parent} cannot be written by this user; mend its mode or choose another path"
        case _:
            return error.strerror or str(error)
