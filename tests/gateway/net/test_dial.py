"""Connections are opened to whatever a provider's base URL may name, and each way in which that fails has its kind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import pytest
import uvloop

from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Wheel, now_ns
from gateway.base.snapshot import Provider, Timeouts
from gateway.net import dial as dial_module
from gateway.net.dial import Dialer, Resolver
from gateway.net.pool import DialError
from tests.fastpath.test_upstream import REQUEST, Pool, Sink, read_request, sized
from tests.support.certificates import Authority

T = TypeVar("T")


class World:
    """A running loop with what a dialer needs."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wheel = Wheel(self.loop)
        self.resolver = Resolver(self.loop)
        self.handshakes = asyncio.Semaphore(dial_module.MAX_HANDSHAKES)
        self.connections: list[UpstreamConnection] = []

    def dialer(self, url: str, *, connect_ms: int = 5_000, **settings: Any) -> Dialer:
        provider = Provider("p", "openai", url, timeouts=Timeouts(connect_ms=connect_ms), **settings)
        return Dialer(provider, self.loop, self.resolver, self.handshakes)

    async def dial(self, dialer: Dialer) -> UpstreamConnection:
        connection = UpstreamConnection(self.wheel, Pool())
        self.connections.append(connection)
        await dialer(lambda: cast(asyncio.BaseProtocol, connection))
        assert connection.idle
        return connection

    async def ask(self, url: str, **settings: Any) -> bytes:
        """What a server at `url` answers."""
        connection = await self.dial(self.dialer(url, **settings))
        sink = Sink()
        connection.send(REQUEST, sink, "POST", 5_000, 5_000, now_ns() + 5_000_000_000)
        while not sink.ends:  # noqa: ASYNC110 - a sink is called, it is no future
            await asyncio.sleep(0.002)
        connection.close()
        return sink.body

    async def kind(self, url: str, **settings: Any) -> str:
        """Of the error with which the dial fails."""
        with pytest.raises(DialError) as failed:
            await self.dial(self.dialer(url, **settings))
        assert str(failed.value)
        return failed.value.kind


def run(main: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """Runs, and sees to it that no descriptor is left open."""

    async def bounded() -> T:
        world = World()
        reports: list[dict[str, Any]] = []
        world.loop.set_exception_handler(lambda _, report: reports.append(report))
        await world.loop.getaddrinfo("127.0.0.1", 1)  # the loop's own threads and descriptors
        before = open_sockets()
        async with asyncio.timeout(20):
            result = await main(world)
        for connection in world.connections:
            connection.close()
        for _ in range(100):
            await asyncio.sleep(0.005)
            if open_sockets() <= before:
                break
        assert open_sockets() <= before, "a socket was left open"
        assert world.handshakes._value == dial_module.MAX_HANDSHAKES
        assert reports == []
        return result

    return uvloop.run(bounded())


def open_sockets() -> int:
    found = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            found += os.path.exists(f"/dev/fd/{name}") and os.fstat(int(name)).st_mode & 0o170000 == 0o140000
    return found


@contextlib.asynccontextmanager
async def serving(
    body: bytes = b"ok", host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None, path: str = ""
) -> AsyncIterator[int]:
    """A server that answers every request with `body`; its port."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            writer.write(sized(body))
        writer.close()

    if path:
        server = await asyncio.start_unix_server(script, path)
    else:
        server = await asyncio.start_server(script, host, port, ssl=tls)
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        server.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def pretend(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int] | Exception) -> list[int]:
    """Has every name resolve to these addresses, in turn where there are exceptions; the list counts look-ups."""
    asked: list[int] = []

    async def look_up(self: Resolver, host: str, port: int) -> list[Any]:
        asked.append(port)
        if isinstance(found[0], Exception):
            raise found[0]
        infos = [
            (socket.AF_INET6 if ":" in at[0] else socket.AF_INET, at) for at in cast(tuple[tuple[str, int], ...], found)
        ]
        self._known[host, port] = (0.0, cast(Any, infos))
        return infos

    monkeypatch.setattr(Resolver, "_look_up", look_up)
    return asked


# -- addresses


def test_ipv4_a_name_and_ipv6() -> None:
    async def main(world: World) -> None:
        async with serving(b"four") as port:
            assert await world.ask(f"http://127.0.0.1:{port}/v1") == b"four"
            assert await world.ask(f"http://localhost:{port}/v1") == b"four"
        async with serving(b"six", "::1") as port:
            assert await world.ask(f"http://[::1]:{port}/v1") == b"six"

    run(main)


def test_a_unix_socket(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        path = str(tmp_path / "a b.sock")
        async with serving(b"unix", path=path):
            assert await world.ask(f"http+unix://{quote(path, safe='')}/v1") == b"unix"
        assert await world.kind(f"http+unix://{quote(str(tmp_path / 'none'), safe='')}/v1") == "refused"

    run(main)


def test_packets_leave_at_once() -> None:
    async def main(world: World) -> None:
        async with serving() as port:
            dialer = world.dialer(f"http://127.0.0.1:{port}")
            family = socket.AF_INET
            connected = await dialer._connect_to((family, ("127.0.0.1", port)))
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            connected.close()

    run(main)


def test_nobody_listens() -> None:
    async def main(world: World) -> None:
        assert await world.kind(f"http://127.0.0.1:{free_port()}") == "refused"

    run(main)


def test_nobody_answers() -> None:
    """A backlog that is full drops the SYN: the connection hangs."""

    async def main(world: World) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            held = []
            for _ in range(4):
                held.append(socket.socket())
                held[-1].setblocking(False)
                held[-1].connect_ex(listener.getsockname())
            assert await world.kind(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_ms=80) == "connect"
            for each in held:
                each.close()

    run(main)


@pytest.mark.parametrize("fault", [socket.gaierror(socket.EAI_NONAME, "no such name"), UnicodeError("label too long")])
def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    pretend(monkeypatch, fault)

    async def main(world: World) -> None:
        assert await world.kind("http://no.such.name.invalid") == "resolve"

    run(main)


def test_a_dead_address_costs_the_others_nothing_but_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(world: World) -> None:
        dead = free_port()
        async with serving(b"alive") as port:
            for addresses in ([("127.0.0.1", dead), ("127.0.0.1", port)], [("127.0.0.1", port), ("::1", dead)]):
                pretend(monkeypatch, *addresses)
                dialer = world.dialer(f"http://several{port}:{len(addresses[1][0])}")
                for _ in range(4):
                    (await world.dial(dialer)).close()

    run(main)


def test_all_addresses_take_turns_and_one_that_failed_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(world: World) -> None:
        pretend(monkeypatch, ("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1))
        tried: list[str] = []

        async def connect_to(at: tuple[int, tuple[str, int]]) -> socket.socket:
            tried.append(at[1][0][-1])
            if tried[-1] == "2":
                raise ConnectionRefusedError
            return socket.socket()

        dialer = world.dialer("http://name")
        monkeypatch.setattr(dialer, "_connect_to", connect_to)
        for _ in range(6):
            (await dialer._reach("name", 1, dialer._guard)).close()
        assert tried == ["2", "3", "3", "1", "3", "3", "1"], "2 was tried once, and is not for a while"

    run(main)


def test_an_address_family_that_the_machine_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(world: World) -> None:
        async with serving() as port:
            pretend(monkeypatch, ("::1", port), ("127.0.0.1", port))
            dialer = world.dialer("http://name")
            real = socket.socket

            def lacking(family: int = socket.AF_INET, *rest: Any, **more: Any) -> socket.socket:
                if family == socket.AF_INET6:
                    raise OSError("address family not supported")
                return real(family, *rest, **more)

            monkeypatch.setattr(socket, "socket", lacking)
            for _ in range(2):
                (await world.dial(dialer)).close()
            monkeypatch.undo()

    run(main)


# -- addresses that must not be connected to


@contextlib.contextmanager
def dialled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every address that is connected to, by the very call that does it."""
    seen: list[str] = []

    async def connect_to(self: Dialer, at: tuple[int, tuple[str, int]]) -> socket.socket:
        seen.append(at[1][0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(Dialer, "_connect_to", connect_to)
        yield seen


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "0.0.0.0", "ff02::1"],
)
@pytest.mark.parametrize("url", ["http://api.example.com", "http://vllm", "http://[{}]", "http://{}"])
def test_metadata_is_not_connected_to_whatever_leads_there(
    monkeypatch: pytest.MonkeyPatch, address: str, url: str
) -> None:
    if "{" in url and ("[" in url) is not (":" in address):
        return
    pretend(monkeypatch, (address, 80))

    async def main(world: World) -> None:
        with dialled(monkeypatch) as seen:
            assert await world.kind(url.format(address)) == "address"
            assert seen == []
            assert await world.kind(url.format(address), allow_addresses=(address,)) == "refused"
            assert seen == [address]

    run(main)


def test_a_name_is_judged_by_the_address_that_is_dialled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name is fine when it is first asked for, and leads into the network later."""
    answers = [["8.8.8.8"], ["10.0.0.7"], ["127.0.0.1"], ["169.254.169.254"], ["10.0.0.7", "8.8.4.4"]]

    async def main(world: World) -> None:
        asked: list[str] = []

        async def look_up(host: str, port: int, **_: object) -> Any:
            asked.append(host)
            return [(socket.AF_INET, 1, 6, "", (address, port)) for address in answers[len(asked) - 1]]

        class Loop:
            create_task = world.loop.create_task
            getaddrinfo = staticmethod(look_up)

        world.resolver = Resolver(cast(asyncio.AbstractEventLoop, Loop()))
        monkeypatch.setattr(dial_module, "RESOLVE_EVERY_S", -1)
        dialer = world.dialer("http://api.example.com")
        with dialled(monkeypatch) as seen:
            for expected in ("refused", "refused", "address", "address", "address", "refused"):
                with pytest.raises(
                    DialError
                ) as failed:  # each dial takes the last answer, and asks again behind its back
                    await world.dial(dialer)
                assert failed.value.kind == expected
                await asyncio.sleep(0.01)
                if len(asked) == len(answers):
                    monkeypatch.setattr(dial_module, "RESOLVE_EVERY_S", 1_000)
        assert seen == ["8.8.8.8", "8.8.8.8", "8.8.4.4"]

    run(main)


def test_a_public_name_never_leads_to_this_machine_and_local_names_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ("127.0.0.1", 80))

    async def main(world: World) -> None:
        with dialled(monkeypatch) as seen:
            with pytest.raises(
                DialError, match=r"'api\.example\.com' resolves.*providers\.p\.allow_addresses"
            ) as failed:
                await world.dial(world.dialer("http://api.example.com"))
            assert failed.value.kind == "address" and seen == []
            for host in ("localhost", "vllm", "vllm.internal", "127.0.0.1"):
                assert await world.kind(f"http://{host}") == "refused"
            assert len(seen) == 4

    run(main)


def test_through_a_proxy_addresses_are_judged_and_names_are_the_proxys(
    monkeypatch: pytest.MonkeyPatch, ca_file: str
) -> None:
    async def main(world: World) -> None:
        async with Proxy(b"HTTP/1.1 403 No\r\n\r\n").running() as at:
            proxy = f"http://{at}"
            for url, kind in (("https://169.254.169.254", "address"), ("https://10.0.0.7", "refused")):
                assert await world.kind(url, proxy=proxy, ca_file=ca_file) == kind
            assert await world.kind("https://api.example.com", proxy=proxy, ca_file=ca_file) == "refused"
        pretend(monkeypatch, ("169.254.169.254", 80))
        assert await world.kind("https://api.example.com", proxy="http://proxy:3128", ca_file=ca_file) == "address"

    run(main)


# -- the resolver


def test_a_name_is_looked_up_once_by_all_who_ask_and_again_behind_their_backs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(world: World) -> None:
        asked: list[str] = []
        answers: list[Any] = [
            [(socket.AF_INET, 1, 6, "", ("10.0.0.1", 1))],
            OSError("down"),
            [(socket.AF_INET, 1, 6, "", ("10.0.0.2", 1))],
        ]

        async def look_up(host: str, port: int, **_: object) -> Any:
            asked.append(host)
            await asyncio.sleep(0.01)
            answer = answers[len(asked) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        class Loop:
            create_task = world.loop.create_task
            getaddrinfo = staticmethod(look_up)

        resolver = Resolver(cast(asyncio.AbstractEventLoop, Loop()))
        found = await asyncio.gather(*[resolver.resolve("name", 1) for _ in range(5)])
        assert asked == ["name"]
        assert all(addresses == [(socket.AF_INET, ("10.0.0.1", 1))] for addresses in found)
        monkeypatch.setattr(dial_module, "RESOLVE_EVERY_S", -1)
        for expected in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):  # the stale, while it fails; then the new
            assert (await resolver.resolve("name", 1))[0][1][0] == expected or expected == "10.0.0.2"
            await asyncio.sleep(0.03)
        monkeypatch.setattr(dial_module, "RESOLVE_EVERY_S", 1_000)
        assert (await resolver.resolve("name", 1))[0][1][0] == "10.0.0.2"

    run(main)


def test_a_look_up_outlives_the_one_that_asked_first() -> None:
    async def main(world: World) -> None:
        release = asyncio.Event()

        async def look_up(host: str, port: int, **_: object) -> Any:
            await release.wait()
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        class Loop:
            create_task = world.loop.create_task
            getaddrinfo = staticmethod(look_up)

        resolver = Resolver(cast(asyncio.AbstractEventLoop, Loop()))
        first = asyncio.ensure_future(resolver.resolve("name", 1))
        second = asyncio.ensure_future(resolver.resolve("name", 1))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(socket.gaierror):
            await second
        third = asyncio.ensure_future(resolver.resolve("name", 1))
        await asyncio.sleep(0)
        third.cancel()  # nobody awaits this one any more: its failure must not be reported as forgotten

    run(main)


# -- TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem)
    return str(path)


def server_tls(authority: Authority, folder: Path, *hosts: str, expired: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(*hosts, expired=expired).write(folder))
    context.set_alpn_protocols(["http/1.1"])
    return context


def test_tls_with_a_private_authority_tells_the_server_its_name(
    authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    names: list[str | None] = []

    async def main(world: World) -> None:
        tls = server_tls(authority, tmp_path, "localhost", "127.0.0.1")
        tls.sni_callback = lambda _, name, __: names.append(name)
        async with serving(b"secret", tls=tls) as port:
            assert await world.ask(f"https://localhost:{port}", ca_file=ca_file) == b"secret"
            assert await world.ask(f"https://127.0.0.1:{port}", ca_file=ca_file) == b"secret"

    run(main)
    assert names == ["localhost", None]


@pytest.mark.parametrize(
    ("hosts", "expired", "trusted", "said"),
    [
        (("other.example",), False, True, "mismatch"),
        (("localhost",), True, True, "expired"),
        (("localhost",), False, False, "issuer"),
    ],
)
def test_a_certificate_that_must_not_be_accepted(
    authority: Authority, ca_file: str, tmp_path: Path, hosts: tuple[str, ...], expired: bool, trusted: bool, said: str
) -> None:
    async def main(world: World) -> None:
        async with serving(tls=server_tls(authority, tmp_path, *hosts, expired=expired)) as port:
            dialer = world.dialer(f"https://localhost:{port}", ca_file=ca_file if trusted else None)
            with pytest.raises(DialError, match=said) as failed:
                await world.dial(dialer)
            assert failed.value.kind == "tls"

    run(main)


def test_a_server_that_speaks_no_tls(ca_file: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main(world: World) -> None:
        server = await asyncio.start_server(script, "127.0.0.1", 0)
        assert await world.kind(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", ca_file=ca_file) == "tls"
        server.close()

    run(main)


def test_a_bad_bundle_is_told_when_the_dialer_is_made(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")

    async def main(world: World) -> None:
        with pytest.raises(ssl.SSLError):
            world.dialer("https://localhost", ca_file=str(tmp_path / "bad.pem"))
        with pytest.raises(OSError, match="No such file"):
            world.dialer("https://localhost", ca_file=str(tmp_path / "none.pem"))

    run(main)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_provider_that_asks_for_a_certificate_gets_ours_and_the_newest(
    version: ssl.TLSVersion, authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    ours, others = Authority("Ours"), Authority("Others")
    cert_file, key_file = ours.issue("gateway-1").write(tmp_path, "gateway")
    shown: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(pair[0] for pair in writer.get_extra_info("ssl_object").getpeercert()["subject"])
        shown.append(subject["commonName"])
        while await read_request(reader):
            writer.write(sized(b"known"))
        writer.close()

    async def main(world: World) -> None:
        tls = server_tls(authority, tmp_path, "localhost")
        tls.maximum_version = version
        tls.load_verify_locations(cadata=ours.pem.decode())
        tls.verify_mode = ssl.CERT_REQUIRED
        server = await asyncio.start_server(script, "127.0.0.1", 0, ssl=tls)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        dialer = world.dialer(url, ca_file=ca_file, cert_file=cert_file, key_file=key_file)
        assert dialer.tls is not None
        for name in ("gateway-1", "gateway-2"):
            await world.dial(dialer)
            while not shown or shown[-1] != name:  # noqa: ASYNC110 - TLS 1.3: the server is done after the client
                await asyncio.sleep(0.002)
            ours.issue("gateway-2").write(tmp_path, "gateway")
            assert dialer.tls.renew() == ""
        for wrong in (None, others.issue("stranger").write(tmp_path, "stranger")):
            files: dict[str, Any] = {"cert_file": wrong[0], "key_file": wrong[1]} if wrong is not None else {}
            with contextlib.suppress(DialError):  # TLS 1.2 refuses in the handshake, TLS 1.3 with the first read
                connection = await world.dial(world.dialer(url, ca_file=ca_file, **files))
                while connection.idle:  # noqa: ASYNC110 - until the refusal has come
                    await asyncio.sleep(0.002)
        assert len(shown) == 2
        server.close()

    run(main)


def test_a_pair_that_does_not_fit_is_told_when_the_dialer_is_made(authority: Authority, tmp_path: Path) -> None:
    cert_file, _ = authority.issue("a").write(tmp_path, "a")
    _, key_file = authority.issue("b").write(tmp_path, "b")

    async def main(world: World) -> None:
        with pytest.raises(ssl.SSLError):
            world.dialer("https://localhost", cert_file=cert_file, key_file=key_file)

    run(main)


def test_a_silent_server_neither_holds_its_dial_nor_the_handshakes_of_others(
    authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    async def main(world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            stuck = [
                asyncio.ensure_future(
                    world.kind(f"https://127.0.0.1:{silent.getsockname()[1]}", connect_ms=800, ca_file=ca_file)
                )
                for _ in range(dial_module.MAX_HANDSHAKES * 2)
            ]
            await asyncio.sleep(0.05)
            async with serving(b"alive", tls=server_tls(authority, tmp_path, "localhost")) as port:
                before = world.loop.time()
                assert await world.ask(f"https://localhost:{port}", ca_file=ca_file) == b"alive"
                assert world.loop.time() - before < 0.7
            assert await asyncio.gather(*stuck) == ["connect"] * len(stuck)

    run(main)


def test_a_dial_that_is_cancelled_leaves_nothing_open(ca_file: str) -> None:
    async def main(world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for delay in (0.0, 0.01, 0.05):
                dialling = asyncio.ensure_future(
                    world.dial(world.dialer(f"https://127.0.0.1:{silent.getsockname()[1]}", ca_file=ca_file))
                )
                await asyncio.sleep(delay)
                dialling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await dialling

    run(main)


# -- proxies


class Proxy:
    """Speaks CONNECT as it is told to."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        writer.write(self.answer)
        if b" 2" not in self.answer[:13] or not self.answer.endswith(b"\r\n\r\n"):
            writer.close()
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        inner_reader, inner = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(self._pump(reader, inner), self._pump(inner_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()


@pytest.mark.parametrize(
    ("user", "header"),
    [("", b""), ("us%3Aer:p%40ss@", b"proxy-authorization: Basic " + base64.b64encode(b"us:er:p@ss") + b"\r\n")],
)
def test_https_through_a_proxy(authority: Authority, ca_file: str, tmp_path: Path, user: str, header: bytes) -> None:
    async def main(world: World) -> None:
        proxy = Proxy()
        async with serving(b"far", tls=server_tls(authority, tmp_path, "localhost")) as port, proxy.running() as at:
            assert await world.ask(f"https://localhost:{port}", ca_file=ca_file, proxy=f"http://{user}{at}") == b"far"
        authority_form = b"localhost:%d" % port
        assert proxy.heads == [
            b"CONNECT " + authority_form + b" HTTP/1.1\r\nhost: " + authority_form + b"\r\n" + header + b"\r\n"
        ]

    run(main)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "answered 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "answered 502"),
        (b"HTTP/1.1 200 OK\r\n", "broke off"),
        (b"", "broke off"),
        (b"SSH-2.0-x\r\n", "breaks HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 10_000, "too long"),
    ],
)
def test_a_proxy_that_opens_nothing(ca_file: str, answer: bytes, said: str) -> None:
    async def main(world: World) -> None:
        async with Proxy(answer).running() as at:
            with pytest.raises(DialError, match=said) as failed:
                await world.dial(world.dialer("https://localhost:1", ca_file=ca_file, proxy=f"http://{at}"))
            assert failed.value.kind == "refused"

    run(main)


def test_any_success_of_the_proxy_is_one(authority: Authority, ca_file: str, tmp_path: Path) -> None:
    async def main(world: World) -> None:
        proxy = Proxy(b"HTTP/1.0 201 Here you are\r\nvia: x\r\n\r\n")
        async with serving(b"far", tls=server_tls(authority, tmp_path, "localhost")) as port, proxy.running() as at:
            assert await world.ask(f"https://localhost:{port}", ca_file=ca_file, proxy=f"http://{at}") == b"far"

    run(main)


def test_the_environment_names_a_proxy_for_https_and_exceptions(
    authority: Authority, ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def main(world: World) -> None:
        proxy = Proxy()
        async with serving(b"far", tls=server_tls(authority, tmp_path, "localhost")) as port, proxy.running() as at:
            url = f"https://localhost:{port}"
            monkeypatch.setenv("HTTPS_PROXY", at)
            assert await world.ask(url, ca_file=ca_file) == b"far"
            assert len(proxy.heads) == 1
            assert await world.ask(url, ca_file=ca_file, proxy="") == b"far"
            monkeypatch.setenv("NO_PROXY", "example.org,localhost")
            assert await world.ask(url, ca_file=ca_file) == b"far"
            async with serving(b"plain") as plain:
                monkeypatch.delenv("NO_PROXY")
                assert await world.ask(f"http://127.0.0.1:{plain}") == b"plain"
            assert len(proxy.heads) == 1

    run(main)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://proxy.example:3128", "http://"])
def test_a_proxy_that_is_not_spoken_to_is_told_when_the_dialer_is_made(proxy: str) -> None:
    async def main(world: World) -> None:
        with pytest.raises(ValueError, match="must be an http:// URL"):
            world.dialer("https://localhost", proxy=proxy)

    run(main)
