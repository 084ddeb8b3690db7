from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.base.node import Address
from gateway.supervisor import ListenError, bind_listeners, spread


@contextmanager
def listening(address: Address, count: int) -> Iterator[list[socket.socket]]:
    listeners = bind_listeners(address, count)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def port_of(listener: socket.socket) -> int:
    port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_port_zero_gives_all_sockets_one_free_port(host: str, count: int) -> None:
    with listening(Address(host=host), count) as listeners:
        assert len({listener.fileno() for listener in listeners}) == count
        assert {port_of(listener) for listener in listeners} == {port_of(listeners[0])}
        for listener in listeners:
            assert not listener.getblocking()
            assert not listener.get_inheritable()
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        socket.create_connection((host, port_of(listeners[0])), timeout=5).close()


def test_sockets_are_added_beside_those_that_are_there() -> None:
    with listening(Address(), 1) as old:
        new = bind_listeners(Address(), 3, beside=old)
        assert [port_of(listener) for listener in new] == [port_of(old[0])] * 2
        assert bind_listeners(Address(), 1, beside=[*old, *new]) == []
        for listener in new:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            listener.close()


def test_one_socket_beside_a_unix_socket_is_enough(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "socket"))
    with listening(address, 2) as old:
        assert bind_listeners(address, 4, beside=old[:1]) == []


@pytest.mark.parametrize(
    ("sockets", "workers", "shares"),
    [(2, 2, [[0], [1]]), (4, 2, [[0, 2], [1, 3]]), (3, 2, [[0, 2], [1]]), (3, 1, [[0, 1, 2]]), (1, 3, [[0], [0], [0]])],
)
def test_every_socket_has_a_worker_and_every_worker_one(sockets: int, workers: int, shares: list[list[int]]) -> None:
    made = [socket.socket() for _ in range(sockets)]
    assert [[made.index(one) for one in own] for own in spread(made, workers)] == shares
    for one in made:
        one.close()


def test_a_unix_socket_that_stands_there_for_each_worker_is_had_once() -> None:
    with socket.socket() as one:
        assert spread([one, one], 2) == [[one], [one]]
        assert spread([one, one, one], 1) == [[one]]


def test_connections_spread_over_the_sockets() -> None:
    with listening(Address(), 2) as listeners:
        callers = [socket.create_connection(("127.0.0.1", port_of(listeners[0])), timeout=5) for _ in range(64)]
        counts = [0, 0]
        for index, listener in enumerate(listeners):
            while True:
                try:
                    listener.accept()[0].close()
                except BlockingIOError:
                    break
                counts[index] += 1
        for caller in callers:
            caller.close()
    assert sum(counts) == 64
    assert min(counts) > 0


def test_accepted_sockets_have_nodelay() -> None:
    with listening(Address(), 1) as [listener]:
        caller = socket.create_connection(("127.0.0.1", port_of(listener)), timeout=5)
        accepted, _ = listener.accept()
        with caller, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_unspecified_address_takes_both_families() -> None:
    with listening(Address(host="::"), 1) as [listener]:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port_of(listener)), timeout=5).close()


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_a_port_in_use_is_refused_even_where_the_kernel_would_share_it(first: int, second: int) -> None:
    with listening(Address(), first) as listeners:
        port = port_of(listeners[0])
        with pytest.raises(ListenError) as caught:
            bind_listeners(Address(port=port), second)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: another process uses the address; stop it "
        f"(`ss -ltnp 'sport = :{port}'` names it) or choose another port"
    )


def test_a_port_is_free_again_at_once() -> None:
    with listening(Address(), 2) as listeners:
        port = port_of(listeners[0])
        caller = socket.create_connection(("127.0.0.1", port), timeout=5)
        for listener in listeners:
            try:
                listener.accept()[0].close()  # we close first: the port is left in TIME_WAIT
            except BlockingIOError:
                continue
        caller.close()
    with listening(Address(port=port), 2) as listeners:
        assert port_of(listeners[1]) == port


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (Address(host="192.0.2.1"), "cannot listen on 192.0.2.1:0: this machine has no such address"),
        (Address(host="no such host"), "'no such host' is no address and no name that resolves"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_line(address: Address, reason: str) -> None:
    with pytest.raises(ListenError) as caught:
        bind_listeners(address, 2)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_unix_socket_is_one_for_all(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    with listening(Address(path=str(path)), 3) as listeners:
        assert len(listeners) == 3
        assert len({listener.fileno() for listener in listeners}) == 1
        assert not listeners[0].getblocking()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "edge.sock"))
    with listening(address, 1):
        pass  # closed, and the file left behind
    with listening(address, 1), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(address.path))


def test_a_unix_socket_that_answers_is_left_alone(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "edge.sock"))
    with listening(address, 1):
        with pytest.raises(ListenError, match="another process answers on it"):
            bind_listeners(address, 1)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(address.path))


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="a file that is no socket lies there"):
        bind_listeners(Address(path=str(path)), 1)
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("path", "reason"), [("none/edge.sock", "none does not exist; make it"), ("x" * 200, "path too long")]
)
def test_a_unix_path_that_cannot_be_had_is_one_line(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(ListenError, match=reason):
        bind_listeners(Address(path=str(tmp_path / path)), 1)


def test_less_than_one_listener_is_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="0 listeners"):
        bind_listeners(Address(), 0)
