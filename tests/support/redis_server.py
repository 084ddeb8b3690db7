"""A real Redis of a test's own: on a free port, in its own directory, and as ill as the test wants it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from gateway.base.redis_url import RedisUrl, parse

START_S = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server, or one Sentinel. Keeps nothing on disk: a restart begins empty.

    Args:
        directory: its own.
        settings: further lines of its configuration file.
        program: "redis-server" or "redis-sentinel".
        port: 0 takes a free one.
        tls: certificate, key and authority; then `port` speaks TLS alone.
    """

    def __init__(
        self,
        directory: Path,
        settings: Sequence[str] = (),
        *,
        program: str = "redis-server",
        port: int = 0,
        tls: tuple[str, str, str] | None = None,
    ) -> None:
        found = shutil.which(program) or shutil.which("redis-server")
        assert found is not None, f"{program} is not installed; .ci/run knows its package"
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._sentinel = program == "redis-sentinel"
        self._command = [found, str(directory / "redis.conf"), *(["--sentinel"] if self._sentinel else [])]
        self.port = port or free_port()
        self.socket_file = directory / "redis.sock"
        self._tls = tls
        lines = [f"dir {directory}", "bind 127.0.0.1", "daemonize no", *settings]
        if self._sentinel:
            lines.append(f"port {self.port}")
        else:
            lines += [f"unixsocket {self.socket_file}", 'save ""', "appendonly no"]
            lines += [f"port {self.port}"] if tls is None else [f"port 0\ntls-port {self.port}\ntls-auth-clients no"]
        if tls is not None:
            lines += [f"tls-cert-file {tls[0]}", f"tls-key-file {tls[1]}", f"tls-ca-cert-file {tls[2]}"]
        (directory / "redis.conf").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    # -- life

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._accepts():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    # -- asking

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> RedisUrl:
        return parse(f"redis://{self.address}/0")

    def client(self, **options: Any) -> redis.Redis:
        """A client of the test's own, beside the gateway's."""
        made: redis.Redis = redis.Redis(port=self.port, protocol=2, socket_timeout=5, **options)
        return made
