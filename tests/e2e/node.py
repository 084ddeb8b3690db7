"""A gateway as its operator starts it: a process, a configuration file, a state directory."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from _fastpath.bucket import Scope, Table
from _fastpath.shm import NodeMemory

SOURCE = Path(__file__).parents[2] / "src"
WAIT_S = 15.0

_T = TypeVar("_T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ask: Callable[[], _T | None], timeout_s: float = WAIT_S, every_s: float = 0.01) -> _T:
    """What `ask` answers once it is true; fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(every_s)


class Answer:
    """An HTTP answer, as it came."""

    def __init__(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.headers}, {self.body[:500]!r})"


class Gateway:
    """One node. Made by `start`; `stop` asserts that it left nothing behind."""

    def __init__(self, directory: Path, settings: dict[str, Any], secrets: dict[str, str], workers: int = 1) -> None:
        self.directory = directory
        self.port, self.ops_port = free_port(), free_port()
        self.config_file = directory / "gateway.yaml"
        self.state_dir = directory / "state"
        self.log_file = directory / "log.jsonl"
        self.http2_port = free_port()
        if "http2" in settings:
            settings = {**settings, "http2": {"listen": f"127.0.0.1:{self.http2_port}", **settings["http2"]}}
        self.settings = {
            "listen": f"127.0.0.1:{self.port}",
            "ops": f"127.0.0.1:{self.ops_port}",
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
            "state_dir": "state",
            "workers": workers,
            **settings,
        }
        self.secrets = secrets
        self.workers = workers
        self.environment = {**os.environ, **secrets}
        self.run_version(SOURCE)
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            self.environment.pop(name, None)
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(self.settings)

    def set_environment(self, **variables: str) -> None:
        """Before the start."""
        self.environment |= variables

    def run_version(self, source: Path) -> None:
        """What is installed for it: the folder that holds its packages, or a link to that."""
        self.environment["PYTHONPATH"] = str(source)

    def configure(self, settings: dict[str, Any] | str) -> None:
        """Writes the configuration file, whole."""
        text = settings if isinstance(settings, str) else json.dumps(settings, indent=1)  # JSON is YAML
        temporary = self.config_file.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(self.config_file)

    @staticmethod
    @contextlib.contextmanager
    def taken_port() -> Iterator[int]:
        """A port on which somebody else listens."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            yield int(other.getsockname()[1])

    # -- life

    def begin(self, command: str = "data-plane") -> None:
        """Starts it without waiting."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", command, "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
            )

    def start(self) -> None:
        self.begin()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"it ended: {self.log_file.read_text()}"
            try:
                return self.ops("/readyz").status == 200
            except OSError:
                return False

        wait_for("ready", ready)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, timeout_s: float = 20.0) -> None:
        """SIGTERM; exit code 0 and no process of the node left."""
        self.signal(signal.SIGTERM)
        assert self.process.wait(timeout_s) == 0, self.log_file.read_text()[-4_000:]
        assert not self.processes(), "processes are left"

    def kill(self) -> None:
        """For clean-up after a failed test."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[Gateway]:
        """From its start to its end, which must go well."""
        try:
            self.start()
            yield self
            self.stop()
        finally:
            self.kill()

    def processes(self) -> list[int]:
        """All of the node's session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self.process.pid and fields[0] != "Z":
                        found.append(int(entry.name))
        return found

    def restart_state(self) -> str:
        """How far the last restart is; "" where there was none."""
        file = self.state_dir / "run" / "restart.json"
        return str(json.loads(file.read_bytes())["state"]) if file.exists() else ""

    def worker_pids(self) -> list[int]:
        """Of those that serve, by their number."""
        return [worker["pid"] for worker in self.status()["workers"] if worker["state"] == "serving"]

    def wait_until_replaced(self, number: int, pid: int) -> None:
        """Until another process than `pid` is that worker."""
        wait_for("replaced", lambda: self.status()["workers"][number]["pid"] not in (0, None, pid), 5.0)

    # -- asking

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def secret(self, name: str) -> str:
        return self.secrets[name]

    def ask(
        self,
        body: dict[str, Any] | bytes | None = None,
        key: str | None = None,
        *,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        headers: dict[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            sent = {"content-type": "application/json"} if body is not None else {}
            if key is not None:
                sent["authorization"] = f"Bearer {key}"
            data = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request(method, path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def ops(self, path: str, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.ops_port, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.ops("/status").json
        return answer

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of that name with those labels."""
        total = 0.0
        for line in self.ops("/metrics").body.decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def command(self, *arguments: str, config: bool = True) -> subprocess.CompletedProcess[str]:
        """`throughway ARGUMENTS --config FILE`, the last two where `config` says so."""
        file = ["--config", str(self.config_file)] if config else []
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments, *file],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.directory,
            timeout=30,
            check=False,
        )

    # -- what it keeps

    def log(self, event: str = "request") -> list[dict[str, Any]]:
        whole, _, _ = self.log_file.read_text().rpartition("\n")  # the last line may be under way
        lines = (line for line in whole.splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def logged(self, request_id: str) -> dict[str, Any]:
        """The log's line of a request, once it is there."""
        return wait_for(
            f"log line of {request_id}", lambda: next((r for r in self.log() if r["id"] == request_id), None), 5.0, 0.02
        )

    def records(self, where: str = "1", *values: object) -> list[dict[str, Any]]:
        """Rows of the ledger."""
        file = self.state_dir / "ledger.sqlite3"
        if not file.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
            ledger.row_factory = sqlite3.Row
            try:
                return [
                    dict(row)
                    for row in ledger.execute(f"SELECT * FROM usage_records WHERE {where} ORDER BY seq", values)
                ]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def record(self, request_id: str) -> dict[str, Any]:
        """The ledger's row of a request, once it has been shipped."""
        rows = wait_for(f"record of {request_id}", lambda: self.records("id = ?", request_id), 10.0, 0.05)
        assert len(rows) == 1
        return rows[0]

    @contextlib.contextmanager
    def limits(self) -> Iterator[Table]:
        """The node's shared table of limits, as it stands now."""
        yield Table(NodeMemory.attach(str(self.state_dir / "run" / "node.mem")), self.workers)

    def wait_until_idle(self) -> None:
        """No request in flight, no connection to a provider busy, in the node's own view."""

        def idle() -> bool:
            return all(w["in_flight"] == 0 and w["upstream_busy"] == 0 for w in self.status()["workers"])

        wait_for("nothing in flight", idle, 5.0, 0.05)


__all__ = ["Answer", "Gateway", "Scope", "free_port", "wait_for"]
