"""The load. All that knows which program makes it is here: the experiment asks for a load and gets what was seen.

wrk keeps its connections busy (a closed loop), and corrects its latencies for what it could not ask meanwhile.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import load, rounds, servers
from bench.compare.samples import SHARES

_GRACE_S: Final = 60.0
ANSWER_S: Final = 60
"""A request that takes longer has failed."""

_SCRIPT: Final = """\
wrk.method = "POST"
@HEADERS@
wrk.body = [==[@BODY@]==]
done = function(summary, latency, requests)
  local e, shares, at = summary.errors, {@SHARES@}, {}
  for i, share in ipairs(shares) do at[i] = string.format("%d", latency:percentile(share * 100)) end
  io.write(string.format(
    '@MARK@{"requests":%d,"duration_us":%d,"latency_us":[%s],' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\\n',
    summary.requests, summary.duration, table.concat(at, ","), e.connect, e.read, e.write, e.timeout, e.status))
end
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as a target wants it."""

    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.url.removeprefix("http://").partition("/")[0].partition(":")
        return host, int(port)

    @property
    def path(self) -> str:
        return "/" + self.url.removeprefix("http://").partition("/")[2]

    def message(self) -> bytes:
        """The request as it goes over a connection that is kept."""
        host, port = self.place
        body = self.body.encode()
        fields = {"host": f"{host}:{port}", **self.headers, "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def once(self, timeout_s: float = ANSWER_S) -> tuple[int, str]:
        """Asks as an application would: status and body of the answer."""
        connection = http.client.HTTPConnection(*self.place, timeout=timeout_s)
        try:
            connection.request("POST", self.path, body=self.body, headers=dict(self.headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()


class Seen(load.Seen, frozen=True, kw_only=True):
    """What the load saw."""

    latency_us: tuple[float, ...]
    """At each of `SHARES`."""
    errors: load.Errors = load.Errors(connect=0, read=0, write=0, timeout=0, status=0)


@dataclass(frozen=True, slots=True)
class Press:
    """Loads.

    Args:
        wrk: the program.
        directory: for its scripts.
    """

    wrk: str
    directory: Path

    @property
    def version(self) -> str:
        return rounds.version_line(self.wrk, "-v").partition(" [")[0]

    def closed(self, ask: Ask, connections: int, seconds: int) -> Seen:
        """Each connection has one request under way, always.

        Raises:
            BenchError: the load failed, or a single request did.
        """
        return load.clean(self._run(ask, connections, seconds))

    def warm(self, ask: Ask, connections: int, seconds: int) -> float:
        """The same, with patience for one that is so slow that none is answered in time: requests/s.

        Raises:
            BenchError: the load failed, or a single request did.
        """
        seen = self._run(ask, connections, seconds)
        return load.clean(seen).requests / seconds if seen.requests else 0.0

    def _run(self, ask: Ask, connections: int, seconds: int) -> Seen:
        path = self.directory / "press.lua"
        path.write_text(script(ask))
        command = [
            self.wrk,
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            f"{ANSWER_S}s",
            "-s",
            str(path),
            ask.url,
        ]
        return load.parse(load.run_wrk(command, seconds + _GRACE_S), Seen)


def press(directory: Path) -> Press:
    return Press(servers.find("wrk"), directory)


def script(ask: Ask) -> str:
    """wrk's script for this request."""
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in ask.headers.items())
    template = _SCRIPT.replace("@HEADERS@", headers).replace("@SHARES@", ",".join(map(str, SHARES)))
    return load.filled(template, ask.body)
