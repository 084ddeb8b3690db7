"""The supervisor with real processes: each test runs a node of its own in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from _fastpath.shm import NodeMemory
from gateway.supervisor import (
    EXIT_CLEAN,
    EXIT_CRASH_LOOP,
    EXIT_KILLED,
    ChildSpec,
    Restart,
    StateLock,
    Supervisor,
    progress,
)
from tests.gateway.supervisor.node import be_done

ROOT = Path(__file__).parents[3]
PATIENCE_S = 15.0

Event = dict[str, Any]


class Node:
    """A supervised node under test, and what it has reported."""

    def __init__(self, state_dir: Path, plan: Event, env: dict[str, str]) -> None:
        self.state_dir = state_dir
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.supervisor.node", str(state_dir), json.dumps(plan)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **env},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as a shell does: the node is a process group of its own
        )

    def events(self, event: str, child: str | None = None) -> list[Event]:
        file = self.state_dir / "events.jsonl"
        written, _, _ = file.read_text().rpartition("\n") if file.exists() else ("", "", "")  # whole lines only
        found = [json.loads(line) for line in written.splitlines()]
        return [one for one in found if one["event"] == event and child in (None, one.get("child"))]

    def wait(self, event: str, child: str | None = None, count: int = 1) -> Event:
        """The `count`th event of this kind."""
        eventually(lambda: len(self.events(event, child)) >= count, f"{event} of {child}, {count} times")
        return self.events(event, child)[count - 1]

    def ready(self) -> None:
        self.wait("on_ready")

    def pid(self, child: str, generation: int = 1) -> int:
        pid = self.wait("child.started", child, generation)["pid"]
        assert isinstance(pid, int)
        return pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Waits for the end: exit code and what went to standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors


Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    nodes: list[Node] = []

    def start_node(children: list[Event], *, env: dict[str, str] | None = None, **plan: object) -> Node:
        nodes.append(Node(tmp_path, {"children": children, **plan}, env or {}))
        return nodes[-1]

    yield start_node
    for node in nodes:
        with contextlib.suppress(ProcessLookupError):  # none is left
            os.killpg(node.process.pid, signal.SIGKILL)
        node.process.communicate()


def eventually(is_so: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def worker(index: int, target: str = "worker", **fields: object) -> Event:
    return {"name": f"worker-{index}", "target": target, "slot": index, **fields}


def ask(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.settimeout(PATIENCE_S)
    return connection


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_connections_that_wait_for_a_dead_worker_are_answered_by_its_successor(start: Start, start_method: str) -> None:
    node = start([worker(0, listens=True), worker(1, listens=True)], start_method=start_method)
    node.ready()
    port = node.wait("bound")["port"]
    for pid in (node.pid("worker-0"), node.pid("worker-1")):
        os.kill(pid, signal.SIGSTOP)  # now nobody accepts, and both sockets queue
    connections = [ask(port) for _ in range(64)]
    for pid in (node.pid("worker-0"), node.pid("worker-1")):
        os.kill(pid, signal.SIGKILL)
    answers = [connection.recv(2) for connection in connections]
    for connection in connections:
        connection.close()
    assert answers.count(b"!") == 64
    assert [event["status"] for event in node.events("child.exited")] == ["signal SIGKILL"] * 2
    assert node.pid("worker-0", generation=2) != node.pid("worker-0")
    node.wait("child.started", "worker-1", 2)
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_CLEAN, "")


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_child_has_its_own_signals_and_sockets_only(start: Start, start_method: str) -> None:
    plan = [worker(index, "inspector", listens=True, args={"threads": index}) for index in range(2)]
    node = start(plan, start_method=start_method)
    for index in range(2):
        seen = node.wait("inspected", f"worker-{index}")
        del seen["event"], seen["child"]
        assert seen == {
            "sigint": True,
            "sighup": True,
            "sigterm": True,
            "held_back": [],
            "group": True,
            "args": {"threads": index},
            "slot_holder": 0,
            "holds_lock": False,
            "listening_fds": 1,
        }


def test_a_slot_is_vacated_before_the_successor_starts(start: Start) -> None:
    node = start([worker(0, "inspector")])
    node.ready()
    memory = NodeMemory.attach(str(node.state_dir / "run" / "node.mem"))
    assert memory.pid(0) == node.pid("worker-0")
    os.kill(node.pid("worker-0"), signal.SIGKILL)
    assert node.wait("inspected", "worker-0", 2)["slot_holder"] == 0
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_CLEAN, "")
    assert memory.pid(0) == 0


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_what_a_terminal_sends_to_the_whole_group_counts_once(start: Start, start_method: str) -> None:
    node = start([worker(0), worker(1)], start_method=start_method)
    node.ready()
    os.killpg(node.process.pid, signal.SIGHUP)
    os.killpg(node.process.pid, signal.SIGINT)
    assert node.end() == (EXIT_CLEAN, "")
    assert len(node.events("child.started")) == 2
    assert sorted(event["child"] for event in node.events("drained")) == ["worker-0", "worker-1"]


def test_children_drain_by_groups_each_after_the_one_before(start: Start) -> None:
    node = start(
        [
            {"name": "agent", "target": "worker", "slot": 7, "drain_order": 1},
            {"name": "control-plane", "target": "worker", "drain_order": 2},
            worker(0),
            worker(1),
        ]
    )
    node.ready()
    node.wait("child.started", "control-plane")
    eventually(lambda: alive(node.pid("control-plane")), "the control plane runs")
    time.sleep(0.3)  # it has no slot to tell that its handler stands
    node.signal(signal.SIGINT)
    assert node.end() == (EXIT_CLEAN, "")
    order = [event["child"] for event in node.events("drained")]
    assert (sorted(order[:2]), order[2:]) == (["worker-0", "worker-1"], ["agent", "control-plane"])
    told = [json.loads(line) for line in (node.state_dir / "events.jsonl").read_text().splitlines()]
    story = [(one["event"], one["child"]) for one in told if one["event"] in ("child.terminating", "child.exited")]
    assert {story[0], story[1]} == {("child.terminating", "worker-0"), ("child.terminating", "worker-1")}
    assert story.index(("child.terminating", "agent")) > max(
        story.index(("child.exited", "worker-0")), story.index(("child.exited", "worker-1"))
    )
    assert len(node.events("child.started")) == 4


def test_sighup_reaches_the_child_that_reloads_and_restarts_none(start: Start) -> None:
    node = start([worker(0), {"name": "agent", "target": "worker", "slot": 7, "drain_order": 1, "reloads": True}])
    node.ready()
    node.signal(signal.SIGHUP)
    node.wait("told.hup", "agent")
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_CLEAN, "")
    assert node.events("told.hup", "worker-0") == []
    assert len(node.events("child.started")) == 2


def test_a_stop_signal_that_comes_twice_at_once_is_one(start: Start) -> None:
    node = start([worker(0)])
    node.ready()
    node.signal(signal.SIGTERM)
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_CLEAN, "")


def test_a_second_signal_kills_at_once(start: Start) -> None:
    node = start([worker(0, "deaf")], policy={"repeat_ms": 0})
    node.ready()
    node.signal(signal.SIGTERM)
    node.wait("child.terminating", "worker-0")
    assert alive(node.pid("worker-0"))
    node.signal(signal.SIGINT)
    assert node.end() == (EXIT_KILLED, "")
    assert node.events("child.exited")[0]["status"] == "signal SIGKILL"


def test_a_child_that_outlives_its_grace_is_killed(start: Start) -> None:
    node = start(
        [worker(0, "deaf", term_grace_ms=100), {"name": "agent", "target": "worker", "slot": 7, "drain_order": 1}]
    )
    node.ready()
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_KILLED, "")
    assert node.events("child.exited", "worker-0")[0]["status"] == "signal SIGKILL"
    assert len(node.events("drained", "agent")) == 1


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_crash_loop_of_an_essential_child_stops_the_node(start: Start, start_method: str) -> None:
    # Spawned interpreters start slowly where the machine is busy; the window is not what this test is about.
    node = start([worker(0), worker(1, "crashing")], start_method=start_method, policy={"loop_window_ms": 60_000})
    code, errors = node.end()
    assert code == EXIT_CRASH_LOOP
    assert errors == "worker-1 ended 5 times within 60 s without becoming ready, the last time: exit code 3\n"
    assert len(node.events("child.started", "worker-1")) == 5
    assert len(node.events("child.exited", "worker-0")) == 1
    assert node.events("on_ready") == []


def test_a_crash_loop_of_a_child_that_is_not_essential_backs_off_and_harms_nobody(start: Start) -> None:
    node = start([worker(0), {"name": "demo-model", "target": "crashing", "essential": False}])
    node.ready()
    node.wait("child.started", "demo-model", 8)
    assert [event["delay_ms"] for event in node.events("child.backing_off")[:5]] == [20, 40, 80, 100, 100]
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_CLEAN, "")
    assert len(node.events("child.started", "worker-0")) == 1


def test_a_worker_that_served_before_it_died_is_in_no_crash_loop(start: Start) -> None:
    node = start([worker(0, "fleeting")])
    node.wait("child.started", "worker-0", 8)
    assert node.events("supervisor.crash_loop") == []


@pytest.mark.parametrize(
    ("target", "restart", "starts"),
    [("done", Restart.NEVER, 1), ("crashing", Restart.NEVER, 1), ("done", Restart.ON_FAILURE, 1)],
)
def test_a_child_that_need_not_run_again_does_not(start: Start, target: str, restart: Restart, starts: int) -> None:
    node = start([{"name": "task", "target": target, "essential": False, "restart": restart}])
    assert node.end() == (EXIT_CLEAN, "")
    assert len(node.events("child.started", "task")) == starts


def test_a_failed_child_that_runs_again_on_failure_does(start: Start) -> None:
    node = start([{"name": "task", "target": "crashing", "essential": False, "restart": Restart.ON_FAILURE}])
    node.wait("child.started", "task", 3)


def test_a_stuck_worker_is_ended_and_leaves_its_stack(start: Start) -> None:
    node = start([worker(0, "stuck_once")], policy={"heartbeat_timeout_ms": 500})
    node.wait("child.stalled", "worker-0")
    exited = node.wait("child.exited", "worker-0")
    (report,) = (node.state_dir / "run").glob("report-*-worker-0.txt")
    assert (exited["status"], exited["report"]) == ("signal SIGABRT", str(report))
    node.pid("worker-0", generation=2)
    text = report.read_text()
    assert "stuck_in_this_function" in text
    assert text.endswith("last lines of its log:\n\nthe last line of its log\n")
    node.signal(signal.SIGTERM)
    assert node.end() == (EXIT_CLEAN, "")
    assert list((node.state_dir / "run").glob("worker-0-*")) == [], "who ends well leaves nothing"


def test_a_worker_that_never_serves_is_ended_too(start: Start) -> None:
    node = start([worker(0, "stuck_at_start_once")], policy={"start_timeout_ms": 1_000})
    node.wait("child.stalled", "worker-0")
    assert "stuck_in_this_function" in Path(node.wait("child.exited", "worker-0")["report"]).read_text()
    node.ready()


def test_a_node_that_cannot_be_restarted_says_so_and_goes_on(start: Start) -> None:
    node = start([worker(0)])
    node.ready()
    for number in (1, 2):
        node.signal(signal.SIGUSR2)
        node.wait("supervisor.restart", count=number)
        found = progress.read(node.state_dir / "run")
        assert found is not None
        assert (found.number, found.state) == (number, progress.FAILED)
        assert found.errors == ["this node cannot be restarted in place: stop it and start it again"]
    assert alive(node.pid("worker-0"))


def test_a_restart_that_went_down_with_its_supervisor_is_known_to_have_failed(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    progress.write(run_dir, progress.Progress(3, "1", state=progress.RAISING))
    start([worker(0)]).ready()
    found = progress.read(run_dir)
    assert found is not None
    assert (found.number, found.state, found.errors) == (3, progress.FAILED, ["the node ended meanwhile"])


def test_a_worker_that_served_a_while_is_replaced_at_once_each_time(start: Start) -> None:
    node = start([worker(0)], healthy_ms=50)
    node.ready()
    for generation in range(1, 5):
        pid = node.pid("worker-0", generation)
        memory = NodeMemory.attach(str(node.state_dir / "run" / "node.mem"))
        eventually(lambda pid=pid, memory=memory: memory.pid(0) == pid, "it serves")  # type: ignore[misc]
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
    node.pid("worker-0", 5)
    assert node.events("child.backing_off") == []


def test_a_stopped_worker_is_killed_since_it_cannot_report(start: Start) -> None:
    node = start([worker(0)], policy={"heartbeat_timeout_ms": 400, "report_ms": 100})
    node.ready()
    os.kill(node.pid("worker-0"), signal.SIGSTOP)
    assert node.wait("child.exited", "worker-0")["status"] == "signal SIGKILL"
    assert alive(node.pid("worker-0", generation=2))


def test_a_suspended_machine_costs_no_worker(start: Start) -> None:
    node = start([worker(0)], policy={"heartbeat_timeout_ms": 500})
    node.ready()
    pid = node.pid("worker-0")
    node.signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    node.signal(signal.SIGCONT)
    time.sleep(0.1)  # the supervisor looks first
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.7)
    assert node.events("child.stalled") == []
    assert alive(pid)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_no_child_outlives_a_killed_supervisor(start: Start, start_method: str) -> None:
    node = start([worker(0), worker(1, "deaf")], start_method=start_method)
    node.ready()
    pids = [node.pid("worker-0"), node.pid("worker-1")]
    node.process.kill()
    eventually(lambda: not any(map(alive, pids)), "all children are gone", within_s=1.0)


def test_systemd_is_told(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(PATIENCE_S)
        node = start([worker(0)], env={"NOTIFY_SOCKET": str(path)})
        assert systemd.recv(100) == b"READY=1"
        node.signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"
    assert node.end() == (EXIT_CLEAN, "")


def test_a_service_manager_that_cannot_be_told_does_not_stop_the_node(start: Start, tmp_path: Path) -> None:
    node = start([worker(0)], env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    node.ready()
    assert [event["state"] for event in node.events("supervisor.notify_failed")] == ["READY=1"]


def test_a_second_supervisor_on_one_state_dir_is_refused(start: Start, tmp_path: Path) -> None:
    node = start([worker(0)])
    node.ready()
    code, errors = start([worker(0)]).end()
    pid = node.process.pid
    assert code == 2
    assert errors == f"state_dir {tmp_path} is in use by pid {pid}: stop that supervisor or name another state_dir\n"
    assert (tmp_path / "run" / "supervisor.pid").read_text() == f"{pid}\n"
    node.process.kill()
    node.end()
    assert "in use" not in start([{"name": "task", "target": "done", "essential": False, "restart": "never"}]).end()[1]


def test_specs_that_clash_are_refused(tmp_path: Path) -> None:
    with StateLock(tmp_path) as lock:
        memory_file = tmp_path / "memory"
        memory = NodeMemory.create(str(memory_file), slots=2, limit_rows=8, metrics_bytes=4096)
        specs = [ChildSpec("a", be_done), ChildSpec("a", be_done)]
        with pytest.raises(ValueError, match="same name"):
            Supervisor(
                memory=memory, memory_file=memory_file, specs=specs, lock=lock, log=lambda *_args, **_fields: None
            )


@pytest.mark.parametrize("name", ["", "../x", "Worker", "a b", "-a"])
def test_a_child_name_that_would_make_a_bad_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="child name"):
        ChildSpec(name, be_done)


def test_an_essential_child_is_always_restarted() -> None:
    with pytest.raises(ValueError, match="always restarted"):
        ChildSpec("worker-0", be_done, restart=Restart.NEVER)
