"""The processes that take part. Each is a process group of its own, and ends with the `with` block that started it.

Should the bench itself be killed, the kernel tells them to stop (PR_SET_PDEATHSIG, by util-linux's `setpriv`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bench import proc
from bench.errors import BenchError, MissingError
from bench.scenarios import SCENARIOS, Scenario

CONF: Final = Path(__file__).with_name("conf")
_PACKAGES: Final = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "setpriv": "util-linux",
    "taskset": "util-linux",
    "node": "nodejs",
}
"""Debian's, by command."""

_START_S: Final = 15.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.02
_LOG_TAIL_BYTES: Final = 2_000


class Target(Protocol):
    """Something that is measured."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> tuple[str, ...]:
        """What it does for each request."""

    def url(self, scenario: Scenario) -> str: ...

    def workers(self) -> list[int]:
        """The processes that serve."""

    def tree(self) -> list[int]:
        """All its processes."""

    @property
    def afterwork_s(self) -> float:
        """How long after a request work for it may begin."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that was started here, and listens on loopback."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def tree(self) -> list[int]:
        return proc.family(self.process.pid, proc.all_stats())

    def wait_until(self, path: str) -> None:
        """Returns once it answers 200 to GET `path`, on its port or on another: `PORT/path`.

        Raises:
            BenchError: it ended, or took too long; the end of its log is in the message.
        """
        port, _, rest = path.partition("/")
        deadline = time.monotonic() + _START_S
        while True:
            if self.process.poll() is not None:
                raise BenchError(
                    f"{self.name} ended with {self.process.returncode} while it started: {self._log_tail()}"
                )
            with contextlib.suppress(ConnectionError):  # it does not listen yet
                if _get(int(port), f"/{rest}")[0] == 200:
                    return
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} was not ready within {_START_S:.0f} s: {self._log_tail()}")
            time.sleep(_POLL_S)

    def _log_tail(self) -> str:
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() or "its log is empty"


@dataclass(frozen=True, slots=True)
class NginxProxy(Server):
    """The yardstick."""

    features: tuple[str, ...] = ("proxies", "keeps connections to the upstream")
    afterwork_s: float = 0.0

    def url(self, scenario: Scenario) -> str:
        return f"http://127.0.0.1:{self.port}{scenario.upstream_path}"

    def workers(self) -> list[int]:
        return self.tree()[1:]  # the first is the master


@dataclass(frozen=True, slots=True)
class Gateway(Server):
    """Throughway's data plane, with one worker."""

    ops_port: int = 0
    features: tuple[str, ...] = (
        "key authentication",
        "allowed models",
        "requests, tokens and concurrency, of key and team",
        "budgets of key and team",
        "prompt tokens counted",
        "priced, a usage record shipped to the ledger",
        "a line in the log",
        "metrics",
    )
    afterwork_s: float = 2.2  # records wait a second in their segment, and this for a second until the shipper looks

    def url(self, scenario: Scenario) -> str:  # the model's name in the body decides
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    def workers(self) -> list[int]:
        status, body = _get(self.ops_port, "/status")
        if status != 200:
            raise BenchError(f"the gateway's /status answered {status}")
        return [worker.pid for worker in msgspec.json.decode(body, type=_Status).workers]


class _Worker(msgspec.Struct):
    pid: int


class _Status(msgspec.Struct):
    workers: list[_Worker]


# -- starting


@contextmanager
def upstream(directory: Path) -> Iterator[Server]:
    """The instant upstream, ready."""
    locations = "\n".join(scenario.location() for scenario in SCENARIOS.values())
    port = free_port()
    with _nginx(directory, "upstream", {"PORT": str(port), "LOCATIONS": locations}) as (process, log):
        server = Server("the upstream", process, port, log)
        server.wait_until(f"{port}{SCENARIOS['chat'].upstream_path}")
        yield server


@contextmanager
def nginx_proxy(directory: Path, upstream_port: int) -> Iterator[NginxProxy]:
    """The yardstick, ready."""
    port = free_port()
    with _nginx(directory, "proxy", {"PORT": str(port), "UPSTREAM": str(upstream_port)}) as (process, log):
        server = NginxProxy("nginx", process, port, log)
        server.wait_until(f"{port}{SCENARIOS['chat'].upstream_path}")
        yield server


@contextmanager
def gateway(directory: Path, upstream_port: int, key: str) -> Iterator[Gateway]:
    """The gateway of this Python environment, ready.

    Args:
        directory: for its configuration, state and log.
        upstream_port: where its providers answer.
        key: the caller's, at least 16 characters.
    """
    port, ops_port = free_port(), free_port()
    config = directory / "gateway.yaml"
    values = {"PORT": str(port), "OPS": str(ops_port), "UPSTREAM": str(upstream_port)}
    config.write_text(filled("gateway.yaml", values))
    command = [sys.executable, "-m", "gateway.cli", "data-plane", "--config", str(config)]
    secrets = {"BENCH_KEY": key, "BENCH_PROVIDER_KEY": "sk-provider-of-the-bench"}
    log = directory / "gateway.log"
    with running("throughway", command, log, secrets) as process:
        server = Gateway("throughway", process, port, log, ops_port)
        server.wait_until(f"{ops_port}/readyz")
        yield server


@contextmanager
def _nginx(directory: Path, name: str, values: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    prefix = directory / name
    prefix.mkdir()
    (prefix / "nginx.conf").write_text(filled(f"{name}.conf", values))
    log = prefix / "error.log"
    command = [find("nginx"), "-p", str(prefix), "-e", "stderr", "-c", "nginx.conf"]
    with running(f"nginx ({name})", command, log) as process:
        yield process, log


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template of `CONF` with its words filled in."""
    return fill((CONF / template).read_text(), values)


def fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


@contextmanager
def running(
    name: str,
    command: list[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is stopped at the end of the block, whatever ends it.

    Args:
        name: for messages.
        command: a program and its arguments.
        log: gets what it prints.
        environment: added to ours.
        directory: to start it in; ours if there is none.

    Raises:
        BenchError: it did not stop when told to, and was killed.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [find("setpriv"), "--pdeathsig", "TERM", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(environment or {})},
            cwd=directory,
            start_new_session=True,  # Ctrl-C is ours; and a group can be killed whole
        )
    try:
        yield process
    finally:
        _stop(name, process)


def _stop(name: str, process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} did not stop within {_STOP_S:.0f} s and was killed") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # nobody of its group is left, as should be
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# -- asking


def find(command: str) -> str:
    """Where a program is, the directories of servers included.

    Raises:
        MissingError: nowhere.
    """
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise MissingError(f"{command} is not installed; on Debian: apt install {_PACKAGES[command]}")
    return path


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def post(url: str, key: str, body: str) -> tuple[int, str]:
    """Asks once, as an application would."""
    address, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=10)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    try:
        connection.request("POST", f"/{path}", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
