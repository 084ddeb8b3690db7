"""The load: wrk, a closed loop over kept connections, and its report.

wrk's printed summary is rounded for people ("1.07ms", "31.5k"). Its script therefore writes one line of JSON with the
whole figures, behind a mark that nothing else prints.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


class Outcome(msgspec.Struct, frozen=True):
    """What wrk saw. Latencies are of a closed loop: they say how long the queue is, not what a lone request waits."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    errors: Errors


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
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"wrk did not end: {' '.join(command)}") from error
        if ran.returncode != 0:
            raise BenchError(f"wrk ended with {ran.returncode}: {(ran.stderr or ran.stdout).strip()}")
        return clean(parse(ran.stdout))


def script(body: str, key: str) -> str:
    """The Lua script for wrk.

    Args:
        body: of each request; without `]==]`.
        key: the caller's.
    """
    if "]==]" in body:
        raise ValueError("the body would end its Lua string")
    return _SCRIPT.replace("@MARK@", _MARK).replace("@KEY@", key).replace("@BODY@", body)


def parse(output: str) -> Outcome:
    """Finds the script's line in what wrk printed.

    Raises:
        BenchError: there is none.
    """
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if not lines:
        raise BenchError(f"wrk reported nothing: {output.strip()[-500:] or 'it printed nothing'}")
    try:
        return msgspec.json.decode(lines[-1].removeprefix(_MARK), type=Outcome)
    except msgspec.DecodeError as error:
        raise BenchError(f"wrk's report cannot be read: {lines[-1]!r}") from error


def clean(outcome: Outcome) -> Outcome:
    """The outcome, if every request was answered well.

    Raises:
        BenchError: some were not; a figure over them would flatter.
    """
    if outcome.requests == 0:
        raise BenchError("no request was answered")
    if errors := str(outcome.errors):
        raise BenchError(f"of {outcome.requests:,} requests some failed: {errors}")
    return outcome
