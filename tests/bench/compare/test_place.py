"""A peer that is started, with small programs in the place of gateways."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.compare import place
from bench.compare.install import Packages
from bench.compare.peers import PEERS, Peer
from bench.compare.place import Place, Where
from bench.compare.scenes import SCENES
from bench.errors import BenchError
from tests.bench.test_run import needs_servers

CHAT = SCENES["chat"]
SERVER = """\
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"WORDS")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
print("listening at", server.server_port, flush=True)
server.serve_forever()
"""


def where(directory: Path) -> Where:
    return Where(directory, upstream_port=9, key="sk-1", core=max(os.sched_getaffinity(0)))


def peer(script: str, port: str = "@PORT@", says_port: str = "") -> Peer:
    return Peer(name="it", does="", features=(), command=("@PYTHON@", "-c", script, port), says_port=says_port)


@needs_servers
@pytest.mark.parametrize(("port", "says_port"), [("@PORT@", ""), ("0", "listening at ")], ids=["told", "any"])
def test_a_peer_is_ready_once_it_answers_whole_and_is_stopped_at_the_end(
    tmp_path: Path, port: str, says_port: str
) -> None:
    script = SERVER.replace("WORDS", " ".join(CHAT.words))
    with place.started(peer(script, port, says_port), where(tmp_path), CHAT) as it:
        (pid,) = it.tree()
        assert it.prove(CHAT) is None
        assert os.sched_getaffinity(pid) == {max(os.sched_getaffinity(0))}
        assert it.start_s is not None
    assert not Path(f"/proc/{pid}").exists()


@needs_servers
def test_a_peer_that_ends_while_it_starts_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"^it ended with 3 while it started: no luck$"),
        place.started(peer("print('no luck'); exit(3)"), where(tmp_path), CHAT),
    ):
        pass


@needs_servers
def test_a_peer_that_answers_something_else_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_START_S", 1.0)
    with (
        pytest.raises(BenchError, match="it was not ready within 1 s: it answers chat with 200: other"),
        place.started(peer(SERVER.replace("WORDS", "other")), where(tmp_path), CHAT),
    ):
        pass


def test_a_scene_is_asked_as_each_peer_wants_it() -> None:
    values = {"PORT": "1", "UPSTREAM": "2", "KEY": "sk-1"}
    asked = {name: Place(PEERS[name], values).ask(SCENES["stream"]) for name in PEERS}
    assert asked["nginx"].url == "http://127.0.0.1:1/streaming/v1/chat/completions"
    assert asked["throughway"].url == "http://127.0.0.1:1/v1/chat/completions"
    assert '"model":"gpt-4o-mini-streaming"' in asked["throughway"].body
    assert '"model":"tensorzero::model_name::gpt-4o-mini-streaming"' in asked["tensorzero"].body
    assert asked["portkey"].headers["x-portkey-custom-host"] == "http://127.0.0.1:2/streaming/v1"
    assert all(one.headers["authorization"] == "Bearer sk-1" for one in asked.values())
    assert all("@" not in one.url + one.body + " ".join(one.headers.values()) for one in asked.values())


def test_the_version_is_what_it_says_or_what_it_was_pinned_to() -> None:
    asked = Peer(name="it", does="", features=(), version=(sys.executable, "-c", "print('it version: it/1.2.3 (x)')"))
    assert place.version(asked) == "1.2.3"
    for pin, expected in (("some[extra]==1.106.2", "1.106.2"), ("@some/gateway@1.15.2", "1.15.2")):
        assert place.version(Peer(name="it", does="", features=(), packages=Packages("pip", (pin,)))) == expected
    assert place.version(PEERS["direct"]) == ""
