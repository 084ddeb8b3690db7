from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import pytest

from gateway.supervisor import check_file_limit, worker_count
from gateway.supervisor._limits import plan_file_limit

V2 = {"proc/self/cgroup": "0::/\n"}
V2_NESTED = {"proc/self/cgroup": "0::/a.slice/b.service\n"}
V1 = {"proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/docker/1f\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "cpus", "workers"),
    [
        ({}, 8, 8),
        (V2, 8, 8),
        (V2 | {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8, 8),
        (V2 | {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 8, 2),
        (V2 | {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 8, 3),
        (V2 | {"sys/fs/cgroup/cpu.max": "10000 100000\n"}, 8, 1),
        (V2 | {"sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8, 8),
        # every group above binds, too
        (V2_NESTED | {"sys/fs/cgroup/a.slice/b.service/cpu.max": "300000 100000\n"}, 8, 3),
        (
            V2_NESTED
            | {
                "sys/fs/cgroup/a.slice/b.service/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a.slice/cpu.max": "400000 100000\n",
            },
            8,
            4,
        ),
        # a container that sees the host's path, and one outside the namespace's root
        (V2_NESTED | {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 8, 2),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 8, 2),
        # version 1, its folder named for one controller or for both
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 8, 8),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000"}, 8, 3),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/docker/1f/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/docker/1f/cpu.cfs_period_us": "100000",
            },
            8,
            1,
        ),
        # a controller whose name only begins alike
        (
            {
                "proc/self/cgroup": "3:cpuset:/\n",
                "sys/fs/cgroup/cpuset/cpu.cfs_quota_us": "1",
                "sys/fs/cgroup/cpuset/cpu.cfs_period_us": "1",
            },
            8,
            8,
        ),
    ],
)
def test_workers_follow_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cpus)))
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert worker_count(None, tmp_path) == workers


def test_a_number_that_was_asked_for_is_taken() -> None:
    assert worker_count(17) == 17


@pytest.mark.parametrize("requested", [0, -1])
def test_less_than_one_worker_is_refused(requested: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        worker_count(requested)


def test_this_machine_has_a_worker_count() -> None:
    assert 1 <= worker_count() <= (os.cpu_count() or 1)


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "edges", "wanted", "fits"),
    [
        (1024, 4096, 100, 1, 4096, None),
        (1024, 1024, 480, 1, 1024, None),  # 2 x 480 + 64 is just enough
        (1024, 1024, 481, 1, 1024, 480),
        (1024, 1024, 160, 2, 1024, None),
        (1024, 1024, 161, 2, 1024, 160),
        (256, 4096, 16_384, 1, 4096, 2016),
        (256, 4096, 8_192, 2, 4096, 672),
        (16, 32, 1, 1, 32, 0),
        (1024, INFINITE, 16_384, 1, 32_832, None),
        (1024, INFINITE, 8_192, 2, 49_216, None),
        (65_536, INFINITE, 16_384, 1, 65_536, None),
        (INFINITE, INFINITE, 16_384, 1, INFINITE, None),
    ],
)
def test_the_file_limit_is_raised_and_judged(
    soft: int, hard: int, connections: int, edges: int, wanted: int, fits: int | None
) -> None:
    limit, problems = plan_file_limit(soft, hard, connections, edges)
    assert limit == wanted
    assert [f"`bounds: {{connections: {fits}}}`" in line and "\n" not in line for line in problems] == (
        [] if fits is None else [True]
    )


@pytest.mark.parametrize("edges", [1, 2])
def test_who_follows_the_advice_about_files_is_not_warned_again(edges: int) -> None:
    _, (line,) = plan_file_limit(1_024, 4_096, 8_192, edges)
    limit, fewer = (int(re.search(found, line)[1]) for found in (r"LimitNOFILE=(\d+)", r"connections: (\d+)"))  # type: ignore[index]
    assert plan_file_limit(1_024, limit, 8_192, edges)[1] == []
    assert plan_file_limit(1_024, 4_096, fewer, edges)[1] == []


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        assert check_file_limit(1) == []
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(before[1], 256)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1] or before[1] == INFINITE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
