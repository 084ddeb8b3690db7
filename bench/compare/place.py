"""One peer that runs, alone on its core."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Final

from bench import proc, rounds, servers
from bench.compare.install import home
from bench.compare.peers import Peer
from bench.compare.press import Ask
from bench.compare.scenes import Scene
from bench.errors import BenchError

_START_S: Final = 120.0
_POLL_S: Final = 0.005
_POLL_ANSWER_S: Final = 10.0
_LOG_TAIL_BYTES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Where:
    """What a turn gives to its peer.

    Args:
        directory: new, and the turn's own.
        upstream_port: where its provider answers.
        key: the caller's.
        core: that it is pinned to.
    """

    directory: Path
    upstream_port: int
    key: str
    core: int


@dataclass(slots=True)
class Place:
    """A peer, ready to be asked. Direct has no process, and its port is the upstream's."""

    peer: Peer
    values: dict[str, str]
    process: Popen[bytes] | None = None
    log: Path | None = None
    start_s: float | None = None

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def afterwork_s(self) -> float:
        return self.peer.afterwork_s

    def tree(self) -> list[int]:
        return [] if self.process is None else proc.family(self.process.pid, proc.all_stats())

    def ask(self, scene: Scene) -> Ask:
        """The request of a scene, as this peer wants it."""
        body = json.loads(scene.body)
        values = {**self.values, "PREFIX": scene.prefix, "MODEL": body["model"]}
        body["model"] = servers.fill(self.peer.model, values)
        headers = {"content-type": "application/json", "authorization": f"Bearer {values['KEY']}"}
        headers |= {name: servers.fill(value, values) for name, value in self.peer.headers.items()}
        url = servers.fill(f"http://127.0.0.1:@PORT@{self.peer.path}", values)
        return Ask(url, headers, json.dumps(body, separators=(",", ":")))

    def prove(self, scene: Scene, timeout_s: float = _POLL_ANSWER_S) -> str | None:
        """What is wrong with its answer; None if it came through whole."""
        try:
            status, answer = self.ask(scene).once(timeout_s)
        except OSError as error:
            return str(error)
        if status == 200 and all(word in answer for word in scene.words):
            return None
        return f"it answers {scene.name} with {status}: {answer[:300]}"


@contextmanager
def started(peer: Peer, where: Where, first: Scene) -> Iterator[Place]:
    """The peer, from exec to the first whole answer, and stopped at the end of the block.

    Raises:
        BenchError: it did not start, or did not stop.
    """
    values = {
        "UPSTREAM": str(where.upstream_port),
        "KEY": where.key,
        "HOME": str(home(peer.name)),
        "HERE": str(where.directory),
        "PYTHON": sys.executable,
    }
    if not peer.command:
        yield Place(peer, {**values, "PORT": str(where.upstream_port)})
        return
    values |= {"PORT": str(servers.free_port()), "OPS": str(servers.free_port())}
    if peer.template:
        (where.directory / peer.config).write_text(servers.filled(peer.template, values))
    log = where.directory / "log"
    command = [servers.find("taskset"), "-c", str(where.core), *_command(peer, values)]
    environment = {name: servers.fill(value, values) for name, value in peer.environment.items()}
    began_s = time.monotonic()
    with servers.running(peer.name, command, log, environment, where.directory) as process:
        place = Place(peer, values, process, log)
        _wait(place, first)
        place.start_s = time.monotonic() - began_s
        yield place


def version(peer: Peer) -> str:
    """What it says of itself, or the pin that it was installed by."""
    if peer.version:
        program, *options = (servers.fill(word, {"PYTHON": sys.executable}) for word in peer.version)
        line = rounds.version_line(program if "/" in program else servers.find(program), *options)
        return next((word.rpartition("/")[2] for word in line.split() if any(map(str.isdigit, word))), line)
    if peer.packages is not None:
        return peer.packages.names[0].replace("==", "@").rpartition("@")[2]
    return ""


def _command(peer: Peer, values: Mapping[str, str]) -> list[str]:
    program, *arguments = (servers.fill(word, values) for word in peer.command)
    return [program if "/" in program else servers.find(program), *arguments]


def _wait(place: Place, first: Scene) -> None:
    """Asks until it answers well."""
    assert place.process is not None
    assert place.log is not None
    deadline = time.monotonic() + _START_S
    while True:
        if place.process.poll() is not None:
            raise BenchError(f"it ended with {place.process.returncode} while it started: {_tail(place.log)}")
        wrong = place.prove(first) if _knows_port(place) else f"its log does not say yet: {place.peer.says_port}"
        if wrong is None:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"it was not ready within {_START_S:.0f} s: {wrong}; {_tail(place.log)}")
        time.sleep(_POLL_S)


def _knows_port(place: Place) -> bool:
    """Reads the port from the log of a peer that takes any."""
    mark = place.peer.says_port
    if not mark:
        return True
    assert place.log is not None
    _, found, rest = place.log.read_text(errors="replace").partition(mark)
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if found and len(digits) < len(rest):
        place.values["PORT"] = digits
        return True
    return False


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() or "its log is empty"
