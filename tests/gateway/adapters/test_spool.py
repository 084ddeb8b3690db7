from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.adapters import segments, spool
from gateway.adapters.shipper import Shipper
from gateway.adapters.spool import Spool
from tests.gateway.adapters.helpers import (
    ListSink,
    eventually,
    failing_writes,
    files,
    record,
    seal,
    segments_of,
    size_of,
)
from tests.support.records import encode

MIB = 1_048_576
Make = Callable[..., Spool]


class Drops:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, count: int) -> None:
        self.count += count


@pytest.fixture
def drops() -> Drops:
    return Drops()


@pytest.fixture
def make(tmp_path: Path, drops: Drops) -> Iterator[Make]:
    made: list[Spool] = []

    def build(owner: str = "w0-1", max_bytes: int = 64 * MIB) -> Spool:
        made.append(Spool(tmp_path / "spool", owner, max_bytes, drops))
        return made[-1]

    yield build
    for each in made:
        each.close(5)


def _ids(directory: Path) -> list[str]:
    found = []
    for path in segments.waiting(directory):
        for payload in segments.scan(path.read_bytes()).payloads:
            found += [each.id for each in segments.decode(payload)]
    return found


def test_close_leaves_all_records_in_order_in_sealed_segments(make: Make, tmp_path: Path, drops: Drops) -> None:
    writer = make()
    for n in range(1_000):
        writer.append(encode(record(str(n))))
    assert writer.close(5)
    assert {path.suffix for path in segments_of(tmp_path / "spool")} == {segments.READY}
    assert _ids(tmp_path / "spool") == [str(n) for n in range(1_000)]
    assert drops.count == 0


def test_nothing_is_made_before_the_first_record(make: Make, tmp_path: Path) -> None:
    threads = threading.active_count()
    assert make().close(1)
    assert threading.active_count() == threads
    assert segments_of(tmp_path / "spool") == []


def test_what_comes_after_close_is_counted(make: Make, drops: Drops) -> None:
    writer = make()
    writer.close(1)
    writer.append(encode(record()))
    assert drops.count == 1


def test_a_segment_is_sealed_when_it_is_a_second_old(make: Make, tmp_path: Path) -> None:
    writer = make()
    writer.append(encode(record()))
    eventually(lambda: len(files(tmp_path / "spool", segments.OPEN)) == 1)
    eventually(lambda: len(files(tmp_path / "spool", segments.READY)) == 1, seconds=4)


def test_a_full_segment_is_sealed_and_the_next_begun(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 100_000)
    writer = make()
    for n in range(1_000):
        writer.append(encode(record(str(n))))
    assert writer.close(5)
    sizes = [path.stat().st_size for path in segments_of(tmp_path / "spool")]
    assert len(sizes) > 3
    assert max(sizes) <= 100_000
    assert _ids(tmp_path / "spool") == [str(n) for n in range(1_000)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_never_reaches_the_caller_and_nothing_is_lost_once_it_recovers(
    error: int, make: Make, tmp_path: Path, drops: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make()
    with failing_writes(monkeypatch, error, after_bytes=30_000):
        for n in range(500):
            writer.append(encode(record(str(n))))
        eventually(lambda: writer.faults >= 2)
    faults = writer.faults
    assert os.strerror(error) in writer.last_fault
    eventually(lambda: len(_ids(tmp_path / "spool")) == 500)
    assert writer.close(5)
    assert faults < 8, "a busy loop"
    assert drops.count == 0
    assert _ids(tmp_path / "spool") == [str(n) for n in range(500)]
    for path in segments_of(tmp_path / "spool"):
        assert segments.scan(path.read_bytes()).tail_bytes == 0, "a part of a frame was sealed"


def test_a_disk_that_never_recovers_costs_the_newest_and_counts_them(
    make: Make, drops: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "QUEUE_RECORDS", 1_000)
    writer = make()
    with failing_writes(monkeypatch, errno.ENOSPC):
        for _ in range(100):
            writer.append(encode(record()))
        eventually(lambda: writer.faults > 0)
        for _ in range(3_000):
            writer.append(encode(record()))
        assert drops.count == 2_000
        assert writer.close(5)
    assert drops.count == 3_100


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs the right to mount")
def test_a_disk_that_is_really_full_fills_up_again_after_shipping(make: Make, tmp_path: Path, drops: Drops) -> None:
    disk = tmp_path / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting is not permitted")
    try:
        writer, sink = make(), ListSink()
        for n in range(2_000):
            writer.append(encode(record(str(n))))
        eventually(lambda: writer.faults > 0)
        shipper = Shipper(disk, sink)

        def shipped() -> bool:
            assert shipper.run_once().error == ""
            return len(sink.records) == 2_000

        eventually(shipped, seconds=30)
        assert drops.count == 0
        assert writer.close(5)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_directory_is_bounded_over_all_workers_and_opens_again(
    make: Make, tmp_path: Path, drops: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 65_536)
    bound = 400_000
    writers = [make(f"w{n}", bound) for n in range(3)]
    for n in range(900):
        for writer in writers:
            writer.append(encode(record(f"{writers.index(writer)}-{n}")))
    eventually(lambda: all(writer.faults > 0 for writer in writers))
    assert "spool holds" in writers[0].last_fault
    directory = tmp_path / "spool"
    assert size_of(directory) <= bound
    sink = ListSink()
    shipper = Shipper(directory, sink)

    def shipped() -> bool:
        assert shipper.run_once().error == ""
        assert size_of(directory) <= bound
        return len(sink.records) == 2_700

    eventually(shipped, seconds=30)
    assert drops.count == 0


def test_segments_grow_older_while_nobody_ships(make: Make, tmp_path: Path) -> None:
    for _ in range(2 * spool.FILES_PER_AGE):
        seal(tmp_path / "spool", [record()])
    writer = make()
    writer.append(encode(record()))
    eventually(lambda: len(files(tmp_path / "spool", segments.OPEN)) == 1)
    time.sleep(1.2)
    assert len(files(tmp_path / "spool", segments.OPEN)) == 1


def test_a_forked_child_writes_its_own_records_and_none_of_its_parents(make: Make, tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from gateway.adapters.spool import Spool
from tests.support.records import encode
from tests.gateway.adapters.helpers import eventually, record, segments_of
directory = Path(sys.argv[1])
spool = Spool(directory, "w0", 1 << 26, lambda count: sys.exit(3))
spool.append(encode(record("before")))
eventually(lambda: bool(segments_of(directory)))
spool.append(encode(record("parent")))
if os.fork() == 0:
    spool.append(encode(record("child")))
    os._exit(0 if spool.close(5) else 4)
_, status = os.wait()
sys.exit(status or not spool.close(5))
"""
    directory = tmp_path / "spool"
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, env=_environment())
    assert sorted(_ids(directory)) == ["before", "child", "parent"]
    assert files(directory, segments.OPEN) == []


WRITER = """
import sys, time
from pathlib import Path
from gateway.adapters.spool import Spool
from tests.support.records import encode
from tests.gateway.adapters.helpers import record
owner, end, pause = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
dropped = []
spool = Spool(Path(sys.argv[1]), owner, 1 << 28, dropped.append)
for n in range(end):
    spool.append(encode(record(f"{owner}.{n}")))
    if n % 200 == 0:
        print(n, flush=True)
        time.sleep(pause)
sys.exit(not spool.close(20) or bool(dropped))
"""


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _start(directory: Path, owner: str, records: int, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(directory), owner, str(records), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment())


def test_a_killed_worker_loses_at_most_its_last_batch_and_no_record_is_corrupt(tmp_path: Path) -> None:
    directory, sink = tmp_path / "spool", ListSink()
    for attempt in range(3):
        owner = f"w{attempt}"
        with _start(directory, owner, 10**9, 0.005) as process:
            assert process.stdout is not None
            stamps: list[tuple[float, int]] = []
            while not stamps or stamps[-1][0] < stamps[0][0] + 0.5 + attempt * 0.13:
                stamps.append((time.monotonic(), int(process.stdout.readline())))
            process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
        result = Shipper(directory, sink).run_once()
        assert (result.error, result.corrupt, result.bytes_left) == ("", 0, 0)
        kept = sorted(int(id_.split(".")[1]) for id_ in sink.records if id_.startswith(owner + "."))
        assert kept == list(range(len(kept))), "a hole"
        # Gathering takes 50 ms; the rest is leave for a busy machine.
        safe = max(n for at, n in stamps if at <= max(killed - 0.4, stamps[0][0]))
        assert len(kept) >= safe


def test_several_workers_and_one_shipper_bring_each_record_exactly_once(tmp_path: Path) -> None:
    directory, sink = tmp_path / "spool", ListSink()
    processes = [_start(directory, f"w{n}-1", 4_000, 0.05) for n in range(3)]
    shipper, shipped = Shipper(directory, sink), 0
    while any(process.poll() is None for process in processes):
        shipped += shipper.run_once().records
        time.sleep(0.02)
    for process in processes:
        process.communicate()
    last = shipper.run_once()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (last.error, last.bytes_left) == ("", 0)
    assert shipped + last.records == len(sink.records) == 12_000


def test_an_owner_that_makes_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="owner"):
        Spool(tmp_path, "../w0", MIB, lambda count: None)
