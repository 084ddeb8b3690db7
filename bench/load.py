"""The load: wrk, a closed loop over kept connections, and its report.

wrk's printed summary is rounded for people ("1.07ms", "31.5k"). Its script therefore writes one line of JSON with the
whole figures, behind a mark that nothing else prints.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.errors import BenchError

_MARK: Final = "bench: "
_GRACE_S: Final = 30.0
"""Beyond the time asked for, until wrk is taken to hang."""

_SCRIPT: Final = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer @KEY@"
wrk.body = [==[@BODY@]==]
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '@MARK@{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.timeout, e.status))
end
"""


class Errors(msgspec.Struct, frozen=True):
    """How many requests failed, by what failed. `status`: the answer's was 400 or more."""

    connect: int
    read: int
    write: int
    timeout: int
    status: int

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in msgspec.structs.asdict(self).items() if count)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What every script of wrk's tells."""

    requests: int
    duration_us: int
    errors: Errors


_Seen = TypeVar("_Seen", bound=Seen)


class Outcome(Seen, frozen=True, kw_only=True):
    """What wrk saw. Latencies are of a closed loop: they say how long the queue is, not what a lone request waits."""

    p50_us: int
    p99_us: int


@dataclass(frozen=True, slots=True)
class Load:
    """How hard to press.

    Args:
        wrk: the program.
        connections: kept open, each with one request under way.
    """

    wrk: str
    connections: int

    def run(self, url: str, script: Path, seconds: int) -> Outcome:
        """Presses on an address for some seconds.

        Raises:
            BenchError: wrk failed, no request was answered, or one was not answered well.
        """
        command = [self.wrk, "-t1", f"-c{self.connections}", f"-d{seconds}s", "-s", str(script), url]
        return clean(parse(run_wrk(command, seconds + _GRACE_S), Outcome))


def run_wrk(command: list[str], timeout_s: float) -> str:
    """What wrk prints.

    Raises:
        BenchError: it failed, or had not ended when `timeout_s` had passed.
    """
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"wrk did not end: {' '.join(command)}") from error
    if ran.returncode != 0:
        raise BenchError(f"wrk ended with {ran.returncode}: {(ran.stderr or ran.stdout).strip()}")
    return ran.stdout


def script(body: str, key: str) -> str:
    """The Lua script for wrk.

    Args:
        body: of each request; without `]==]`.
        key: the caller's.
    """
    return filled(_SCRIPT.replace("@KEY@", key), body)


def filled(template: str, body: str) -> str:
    """A script of wrk's with its mark and its body, which comes last: it may hold anything but the end of a Lua string."""
    if "]==]" in body:
        raise ValueError("the body would end its Lua string")
    return template.replace("@MARK@", _MARK).replace("@BODY@", body)


def parse(output: str, kind: type[_Seen]) -> _Seen:
    """Finds the script's line in what wrk printed, and reads it.

    Raises:
        BenchError: there is none.
    """
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if not lines:
        raise BenchError(f"wrk reported nothing: {output.strip()[-500:] or 'it printed nothing'}")
    try:
        return msgspec.json.decode(lines[-1].removeprefix(_MARK), type=kind)
    except msgspec.DecodeError as error:
        raise BenchError(f"wrk's report cannot be read: {lines[-1]!r}") from error


def clean(seen: _Seen) -> _Seen:
    """What was seen, if every request was answered well.

    Raises:
        BenchError: some were not; a figure over them would flatter.
    """
    if seen.requests == 0:
        raise BenchError("no request was answered")
    if errors := str(seen.errors):
        raise BenchError(f"of {seen.requests:,} requests some failed: {errors}")
    return seen
