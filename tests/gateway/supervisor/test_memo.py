"""What one version of the program hands to the next. The whole way is in tests/e2e/test_restart.py."""

from __future__ import annotations

import json
import os
import socket

import msgspec
import pytest

from gateway.supervisor import Rehearsal, StartError, TakeOver, arrive
from gateway.supervisor._memo import (
    ENVIRONMENT,
    MAX_SOCKETS,
    ChildNote,
    Listening,
    Memo,
    become,
    read_anonymous,
    receive_answer,
    write_anonymous,
)
from gateway.supervisor.progress import Progress


def memo(**fields: object) -> Memo:
    known: dict[str, object] = {
        "version": "1",
        "supervisor_pid": os.getppid(),
        "state_dir": "/state",
        "progress": Progress(1, "1"),
        "listeners": {},
    }
    return msgspec.convert({**msgspec.to_builtins(known), **fields}, Memo)


def sent(kind: str, data: bytes, monkeypatch: pytest.MonkeyPatch, channel: str = "") -> None:
    monkeypatch.setenv(ENVIRONMENT, f"{kind}:{write_anonymous('memo', data)}{channel}")


def test_an_ordinary_start_brings_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert arrive() is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{}", "in another form"),
        (b"\xff", "in another form"),
        (msgspec.json.encode(memo(format=2)), "version 1 hands over in form 2, this one reads 1"),
    ],
)
def test_another_form_is_refused_before_anything_happens(
    data: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent("take-over", data, monkeypatch)
    with pytest.raises(StartError, match=says):
        arrive()
    assert ENVIRONMENT not in os.environ, "no child inherits it"


def test_a_variable_that_nobody_of_ours_set_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "take-over:nonsense")
    with pytest.raises(StartError, match="another form"):
        arrive()


def test_fields_that_a_later_version_adds_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, prepared = write_anonymous("lock", b""), write_anonymous("prepared", b"of the rehearsal")
    fields = json.loads(msgspec.json.encode(memo(lock_fd=lock, prepared_fd=prepared)))
    sent("take-over", json.dumps({**fields, "of_a_later_version": 1}).encode(), monkeypatch)
    arrival = arrive()
    assert isinstance(arrival, TakeOver)
    assert arrival.prepared == b"of the rehearsal"
    os.close(lock)


def test_sockets_and_children_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, prepared = write_anonymous("lock", b""), write_anonymous("prepared", b"")
    with socket.create_server(("127.0.0.1", 0)) as old, socket.create_server(("127.0.0.1", 0)) as new:
        fds = [os.dup(old.fileno()), os.dup(new.fileno())]
        note = ChildNote("worker-0", 7, 1, 3, leaving=False, retires=True, drain_order=0)
        whole = memo(lock_fd=lock, prepared_fd=prepared, bound={"ops": [fds[1]]})
        whole.listeners, whole.children = {"listen": Listening("127.0.0.1:80", [fds[0], fds[0]])}, [note]
        sent("take-over", msgspec.json.encode(whole), monkeypatch)
        arrival = arrive()
        assert isinstance(arrival, TakeOver)
        address, (listener,) = arrival.listening["listen"]
        (bound,) = arrival.bound["ops"]
        assert (address, listener.getsockname(), listener.getblocking()) == ("127.0.0.1:80", old.getsockname(), False)
        assert bound.getsockname() == new.getsockname()
        assert not any(map(os.get_inheritable, [lock, *fds]))
        assert arrival.memo.children == [note]
        listener.close()
        bound.close()
    os.close(lock)


def test_what_was_rehearsed_comes_back_with_its_sockets() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as bound:
        ours.setblocking(False)
        Rehearsal(memo(), theirs).done("2", b"prepared", {"listen": [bound], "ops": []})
        answer, prepared, sockets = receive_answer(ours)
        assert (answer.version, read_anonymous(prepared)) == ("2", b"prepared")
        ((fd,),) = [fds for fds in sockets.values() if fds]
        with socket.socket(fileno=fd) as received:
            assert received.getsockname() == bound.getsockname()
            assert not received.get_inheritable()


def test_more_sockets_than_a_message_takes_are_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(StartError, match="too many"):
        Rehearsal(memo(), theirs).done("2", b"", {"listen": [theirs] * (MAX_SOCKETS + 1)})


@pytest.mark.parametrize("said", [b"", b"{}", b'{"version":"2","bound":{},"format":9}'])
def test_a_rehearsal_that_left_nothing_of_use_is_not_believed(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        if said:
            theirs.send(said)
        with pytest.raises(ValueError, match=r"it (ended without|answered)"):
            receive_answer(ours)


def test_a_program_that_cannot_be_started_leaves_everything_as_it_was() -> None:
    fd = write_anonymous("x", b"")
    with pytest.raises(FileNotFoundError):
        become(["/nowhere/throughway"], "take-over:0", [fd], os.environ)
    assert not os.get_inheritable(fd)
    os.close(fd)
