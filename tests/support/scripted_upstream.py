"""A provider that does what a test tells it: an HTTP/1.1 server whose answers are scripts.

A script is a sequence of steps, run for each request that asks for it:

    bytes    written, as one write of its own
    float    seconds to wait
    CLOSE    an orderly end of the connection (FIN)
    RESET    a disorderly one (RST)
    STALL    nothing more is sent until the client leaves

Which script answers is told by the request itself, in the body's field `x_script`; it passes through the gateway as any
unknown field does. Beside the providers' path (`/a/v1/...`, `/b/v1/...`) that lets two targets of one model behave
differently. What arrived is kept as it came: `requests_of(script)`.

The server runs on a loop and thread of its own, so that synchronous tests and clients may use it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

READ_BYTES = 1_048_576


class Ending:
    """How a script leaves its connection."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


CLOSE = Ending("CLOSE")
RESET = Ending("RESET")
STALL = Ending("STALL")

Step = bytes | float | Ending
Script = Sequence[Step]
Answer = Script | Callable[["Received"], Script]
Framing = Literal["length", "chunked", "close"]


@dataclass
class Received:
    """A request as it arrived."""

    path: str
    head: bytes
    body: bytes
    connection: int
    """Number of the connection that brought it."""
    provider: str
    """First element of the path."""
    at: float = field(default_factory=time.monotonic)
    left_at: float | None = None
    """When the client was seen to leave while this request was being answered (monotonic seconds)."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# -- answers


def head(status: int = 200, content_type: str = "application/json", *lines: str) -> bytes:
    fields = [f"HTTP/1.1 {status} Scripted", f"content-type: {content_type}", *lines]
    return "\r\n".join([*fields, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def answer(
    body: bytes,
    *lines: str,
    status: int = 200,
    content_type: str = "application/json",
    framing: Framing = "length",
) -> Script:
    """A whole answer."""
    if framing == "length":
        return [head(status, content_type, f"content-length: {len(body)}", *lines) + body]
    if framing == "chunked":
        return [head(status, content_type, "transfer-encoding: chunked", *lines) + chunk(body) + LAST_CHUNK]
    return [head(status, content_type, "connection: close", *lines), body, CLOSE]


def json_answer(value: object, *lines: str, status: int = 200, framing: Framing = "length") -> Script:
    return answer(json.dumps(value).encode(), *lines, status=status, framing=framing)


def error(status: int, message: str = "It was refused.", code: str | None = None, *lines: str) -> Script:
    """An error of OpenAI's shape."""
    return json_answer({"error": {"message": message, "type": "t", "param": None, "code": code}}, *lines, status=status)


def stream(
    pieces: Iterable[bytes | float | Ending],
    framing: Framing = "chunked",
    kind: str = "text/event-stream; charset=utf-8",
) -> Script:
    """Server-sent events, or those of another kind; each piece is a write (and a chunk) of its own."""
    steps = list(pieces)
    ended = bool(steps) and isinstance(steps[-1], Ending)
    if framing == "chunked":
        begin = head(200, kind, "transfer-encoding: chunked")
        framed = [chunk(p) if isinstance(p, bytes) else p for p in steps]
        return [begin, *framed] if ended else [begin, *framed, LAST_CHUNK]
    if framing == "close":
        return (
            [head(200, kind, "connection: close"), *steps]
            if ended
            else [head(200, kind, "connection: close"), *steps, CLOSE]
        )
    length = sum(len(p) for p in steps if isinstance(p, bytes))
    return [head(200, kind, f"content-length: {length}"), *steps]


def cut(data: bytes, *at: int, gap_s: float = 0.002) -> Iterator[Step]:
    """`data` in pieces, with a pause between them, so that each arrives by itself."""
    bounds = [0, *at, len(data)]
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        if number:
            yield gap_s
        yield data[start:end]


# -- recorded answers, as api.openai.com gives them


def completion(content: str = "Hello there!", *, usage: dict[str, Any] | None = None, **choice: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-CK1",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
                **choice,
            }
        ],
        "usage": usage if usage is not None else USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
    }


USAGE: dict[str, Any] = {
    "prompt_tokens": 1_117,
    "completion_tokens": 46,
    "total_tokens": 1_163,
    "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def delta(fields: dict[str, Any], finish_reason: str | None = None, index: int = 0, *, asked: bool = False) -> bytes:
    """One chunk of a chat stream; `asked`: as it looks where the caller asked for usage."""
    made = {
        "id": "chatcmpl-CK2",
        "object": "chat.completion.chunk",
        "created": 1_795_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        "choices": [{"index": index, "delta": fields, "logprobs": None, "finish_reason": finish_reason}],
    }
    return event({**made, "usage": None} if asked else made)


def usage_event(usage: dict[str, Any] | None = None) -> bytes:
    return event(
        {
            "id": "chatcmpl-CK2",
            "object": "chat.completion.chunk",
            "created": 1_795_000_000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [],
            "usage": usage if usage is not None else USAGE,
        }
    )


DONE = b"data: [DONE]\n\n"


def chat_events(
    words: Sequence[str] = ("Grüße", ", ", 'Welt \\"quoted\\"', " 🌍"), *, usage: bool = True
) -> list[bytes]:
    """A recorded stream: role, content, finish reason, usage (as asked for), terminal."""
    return [
        delta({"role": "assistant", "content": "", "refusal": None}, asked=usage),
        *(delta({"content": word}, asked=usage) for word in words),
        delta({}, "stop", asked=usage),
        *([usage_event()] if usage else []),
        DONE,
    ]


# -- the server


class ScriptedUpstream:
    """The server. Use it as a context manager."""

    def __init__(self) -> None:
        self._scripts: dict[str, Answer] = {}
        self._received: dict[str, list[Received]] = {}
        self._names = itertools.count(1)
        self._connections = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="scripted-upstream", daemon=True)
        self._more: list[asyncio.Server] = []
        self.port = 0
        self.open_connections = 0
        self.faults: list[BaseException] = []
        """What went wrong in the server itself."""

    def __enter__(self) -> ScriptedUpstream:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert not self.faults, self.faults

    def base_url(self, provider: str) -> str:
        return f"http://127.0.0.1:{self.port}/{provider}/v1"

    def script(self, default: Answer, *, name: str | None = None, **by_provider: Answer) -> str:
        """Registers an answer and returns its name, for the body's `x_script`; "" for bodies that have none. By provider: another one
        for its path."""
        name = name if name is not None else f"script-{next(self._names)}"
        self._scripts[name] = default
        for provider, other in by_provider.items():
            self._scripts[f"{provider}:{name}"] = other
        return name

    def requests_of(self, name: str) -> list[Received]:
        return self._received.get(name, [])

    def forget(self) -> None:
        """Keeps nothing of the requests so far: for tests that go on for long."""
        self._received.clear()

    def wait_until_left(self, name: str, timeout_s: float = 5.0) -> Received:
        """The script's last request, once its client was seen to leave."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            requests = self.requests_of(name)
            if requests and requests[-1].left_at is not None:
                return requests[-1]
            time.sleep(0.005)
        raise AssertionError(f"nobody left {name} within {timeout_s} s")

    def listen_on(self, path: str) -> None:
        """Serves a Unix socket too."""
        self._also(asyncio.start_unix_server(self._serve, path, limit=READ_BYTES))

    def listen_with(self, tls: ssl.SSLContext) -> int:
        """Serves TLS too, on the port that is returned."""
        server = self._also(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=READ_BYTES, ssl=tls))
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _also(self, starting: Coroutine[Any, Any, asyncio.Server]) -> asyncio.Server:
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self._more.append(server)
        return server

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=READ_BYTES, backlog=1_024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        for listening in (server, *self._more):
            listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if writer.get_extra_info("socket").family != socket.AF_UNIX:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(reader, writer, next(self._connections))
        self.open_connections += 1
        try:
            while await self._answer_one(client):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as fault:
            self.faults.append(fault)
        finally:
            self.open_connections -= 1
            writer.close()

    async def _answer_one(self, client: _Client) -> bool:
        """Reads a request and plays its script; False where the connection is over."""
        received = await client.read_request()
        name = str(received.json.get("x_script", "")) if received.body else ""
        self._received.setdefault(name, []).append(received)
        script = self._scripts.get(f"{received.provider}:{name}", self._scripts.get(name))
        if script is None:
            script = error(500, f"There is no script {name!r}.")
        watch = asyncio.ensure_future(client.watch(received))
        try:
            return await client.play(script(received) if callable(script) else script, received, watch)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)


class _Client:
    """A connection of the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self._number = number
        self._ahead = b""

    async def read_request(self) -> Received:
        ahead, self._ahead = self._ahead, b""
        head_bytes = ahead + await self._reader.readuntil(b"\r\n\r\n")
        path = head_bytes.split(b" ", 2)[1].decode()
        received = Received(path, head_bytes[:-4], b"", self._number, path.split("/")[1])
        received.body = await self._reader.readexactly(int(received.header("content-length") or 0))
        return received

    async def watch(self, received: Received) -> None:
        """Notes when the client leaves. The first byte of a next request, which may overtake the end of a script, is kept."""
        try:
            self._ahead = await self._reader.read(1)
        except ConnectionError:
            self._ahead = b""
        if not self._ahead:
            received.left_at = time.monotonic()

    async def play(self, script: Script, received: Received, watch: asyncio.Future[None]) -> bool:
        writer = self._writer
        for step in script:
            if received.left_at is not None:
                return False
            if isinstance(step, bytes):
                writer.write(step)
                drained = asyncio.ensure_future(writer.drain())
                while not drained.done() and received.left_at is None:
                    await asyncio.wait(
                        {drained, watch} if not watch.done() else {drained}, return_when="FIRST_COMPLETED"
                    )
                drained.cancel()
                await asyncio.gather(drained, return_exceptions=True)
            elif isinstance(step, float):
                await asyncio.wait({watch}, timeout=step) if not watch.done() else await asyncio.sleep(step)
            elif step is STALL:
                await watch
                return False
            elif step is RESET:
                connection = writer.get_extra_info("socket")
                if connection.fileno() >= 0:  # the peer may have gone first
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            else:
                return False
        return True
