"""Serves a script: a socket a worker (SO_REUSEPORT), all bound before the first worker starts.

The first worker is this process, the others its children; each has a loop, an agenda and draws of its own.
"""

from __future__ import annotations

import asyncio
import ctypes
import datetime
import gc
import ipaddress
import mmap
import os
import resource
import signal
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, cast

import msgspec
import uvloop

from bench.errors import BenchError, MissingError
from bench.native.agenda import Agenda
from bench.upstream.plan import Plan
from bench.upstream.script import Script

BACKLOG: Final = 4_096
_PR_SET_PDEATHSIG: Final = 1
_HANDSHAKE_S: Final = 30.0


class Address(NamedTuple):
    host: str
    port: int


class Summary(msgspec.Struct, frozen=True):
    """What all workers did, together."""

    counts: dict[str, int]
    cpu_s: float
    """User and system time since they listen."""


def parse_address(text: str) -> Address:
    """`HOST:PORT`; port 0 for any that is free.

    Raises:
        BenchError: it is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise BenchError(f"{text!r} is no address to listen on: write HOST:PORT")
    return Address(host.strip("[]") or "127.0.0.1", int(port))


def serve(
    played: Script, address: Address, workers: int, tick_us: int, tls: Path | None, on_ready: Callable[[str], object]
) -> Summary:
    """Plays until SIGINT or SIGTERM.

    Args:
        played: what to play.
        address: where to listen.
        workers: processes, each with a socket of its own.
        tick_us: what is due within so much of each other may leave in one wake of the loop.
        tls: a file with certificate and key (PEM), made where there is none.
        on_ready: called with the URL once all listen.

    Raises:
        BenchError: the address cannot be listened on, or the certificate not be read.
        MissingError: a certificate is to be made, and the package that makes one is not installed.
    """
    plan = Plan(played)
    context = None if tls is None else _context(tls)
    sockets = _listen(address, workers)
    host, port = sockets[0].getsockname()[:2]
    url = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
    results = mmap.mmap(-1, workers * _RESULT_BYTES)
    parent = os.getpid()
    children: list[int] = []
    for number in range(1, workers):
        child = os.fork()
        if child == 0:
            _die_with(parent)
            code = 1
            try:
                _play(plan, sockets[number], context, number, tick_us, results, lambda: None)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    try:
        _play(plan, sockets[0], context, 0, tick_us, results, lambda: on_ready(url))
    finally:
        for child in children:
            os.kill(child, signal.SIGTERM)
        codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        raise BenchError("a worker of the mock provider failed; its traceback stands above")
    return _summed(results, workers)


def _listen(address: Address, workers: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = address.port
    with ExitStack() as undo:
        for _ in range(workers):
            try:
                family, _, _, _, where = socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM)[0]
                listening = undo.enter_context(socket.socket(family))
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if workers > 1:
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listening.bind(where)
                listening.listen(BACKLOG)
            except OSError as error:
                raise BenchError(f"{address.host}:{port} cannot be listened on: {error.strerror}") from error
            listening.setblocking(False)
            port = listening.getsockname()[1]
            sockets.append(listening)
        undo.pop_all()
    return sockets


def _die_with(parent: int) -> None:
    """Has the kernel end this process when its parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


# -- a worker


def _play(
    plan: Plan,
    listening: socket.socket,
    context: ssl.SSLContext | None,
    number: int,
    tick_us: int,
    results: mmap.mmap,
    on_ready: Callable[[], object],
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        agenda = Agenda(loop, tick_us)
        provider = plan.factory(agenda, tls=context is not None, worker=number)
        protocols = cast("Callable[[], asyncio.Protocol]", provider.accept)
        server = await loop.create_server(
            protocols, sock=listening, ssl=context, ssl_handshake_timeout=_HANDSHAKE_S if context else None
        )
        began_s = _cpu_s()
        on_ready()
        gc.collect()
        gc.freeze()
        await stop.wait()
        server.close()
        agenda.close()
        _store(results, number, provider.counts(), _cpu_s() - began_s)

    uvloop.run(main())


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# -- what workers leave behind: each a JSON text with its length before it, in shared memory

_RESULT_BYTES: Final = 4_096
_LENGTH: Final = struct.Struct("<I")


def _store(results: mmap.mmap, number: int, counts: dict[str, int], cpu_s: float) -> None:
    text = msgspec.json.encode(Summary(counts, cpu_s))
    at = number * _RESULT_BYTES
    results[at : at + _LENGTH.size + len(text)] = _LENGTH.pack(len(text)) + text


def _summed(results: mmap.mmap, workers: int) -> Summary:
    counts: dict[str, int] = {}
    cpu_s = 0.0
    for number in range(workers):
        at = number * _RESULT_BYTES
        (size,) = _LENGTH.unpack_from(results, at)
        one = msgspec.json.decode(results[at + _LENGTH.size : at + _LENGTH.size + size], type=Summary)
        cpu_s += one.cpu_s
        for key, value in one.counts.items():
            counts[key] = counts.get(key, 0) + value
    return Summary(counts, cpu_s)


# -- TLS


def _context(path: Path) -> ssl.SSLContext:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(_self_signed())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(path)
    except (OSError, ssl.SSLError) as error:
        raise BenchError(f"{path}: certificate and key cannot be read: {error.strerror or error}") from error
    return context


def _self_signed() -> bytes:
    """Certificate and key for this machine's loopback, in PEM. The certificate is its own authority."""
    try:
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from cryptography.x509.oid import NameOID  # noqa: PLC0415
    except ImportError as error:
        raise MissingError("a certificate is made by the package cryptography, which is not installed") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mock provider")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
