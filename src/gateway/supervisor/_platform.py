"""What only Linux has, behind plain functions. Elsewhere each does the nearest harmless thing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_Reader = Callable[[Path], float | None]

# Loaded once, in the supervisor: a child between fork and its death signal should not have to search for libraries.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """The kernel kills this process when `parent_pid` ends, however (prctl(2), PR_SET_PDEATHSIG). Call it first.

    The signal is tied to the thread that forked, not to the process: the supervisor has one thread only. It does not
    reach grandchildren. Elsewhere than on Linux nothing is done, and an orphan lives until it is told to stop.
    """
    if LINUX and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the request was in place
        os.kill(os.getpid(), signal.SIGKILL)


def signal_lock_holder(pid: int, number: int, file: Path) -> bool:
    """Signals a process if it holds the lock of a file (flock(2)); whether it does.

    The handle is opened first, so that no process that was given the number meanwhile is meant. Elsewhere than on Linux the number
    is believed.

    Raises:
        ProcessLookupError: there is no such process.
        PermissionError: it is another user's.
    """
    if sys.platform != "linux":
        os.kill(pid, number)
        return True
    handle = os.pidfd_open(pid)
    try:
        holds = _holds_lock(pid, file.stat())
        if holds:
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
    return holds


def _holds_lock(pid: int, file: os.stat_result) -> bool:
    """Whether a descriptor of the process holds an exclusive lock of the file (proc_pid_fdinfo(5)). Raises PermissionError."""
    folder = Path(f"/proc/{pid}")
    for descriptor in (folder / "fd").iterdir():
        try:
            if os.path.samestat(descriptor.stat(), file):
                facts = (folder / "fdinfo" / descriptor.name).read_text()
                if any(
                    line.startswith("lock:") and {"FLOCK", "WRITE"} <= {*line.split()} for line in facts.splitlines()
                ):
                    return True
        except FileNotFoundError:  # it was closed meanwhile, or leads to what has no name
            continue
    return False


def usable_cpus() -> int:
    """CPUs that this process may be scheduled on; 1 where the kernel does not spread connections over sockets."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def cpu_quota(root: Path = Path("/")) -> int | None:
    """The cgroup's CPU quota in whole CPUs, rounded up; None where there is none.

    Args:
        root: where `proc` and `sys` lie.

    Format: cgroups(7), and the kernel's cgroup-v2 (`cpu.max`) and sched-bwc (`cpu.cfs_quota_us`) pages.
    """
    quotas = [share for folder, read in _cpu_groups(root) if (share := read(folder)) is not None]
    return max(1, ceil(min(quotas))) if quotas else None


def _cpu_groups(root: Path) -> Iterator[tuple[Path, _Reader]]:
    """Each folder whose quota binds this process: its own group and all above it, in either version's hierarchy."""
    listing = root / "proc/self/cgroup"
    mounts = root / "sys/fs/cgroup"
    for line in listing.read_text().splitlines() if listing.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            tops, read = (mounts, mounts / "unified"), _quota_v2
        elif "cpu" in controllers.split(","):
            tops, read = (mounts / "cpu", mounts / controllers), _quota_v1
        else:
            continue
        # In a container the path may be the host's: what does not exist here is skipped, and the top is always read.
        below = Path(path.lstrip("/"))
        yield from ((top / group, read) for top in tops for group in (below, *below.parents) if ".." not in group.parts)


def _quota_v2(folder: Path) -> float | None:
    file = folder / "cpu.max"
    if not file.exists():
        return None
    quota, period = file.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota_file, period_file = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if not (quota_file.exists() and period_file.exists()):
        return None
    quota = int(quota_file.read_text())
    return None if quota <= 0 else quota / int(period_file.read_text())


def anonymous_file(name: str) -> int:
    """A descriptor of an empty file in memory, which ends with its last descriptor. Raises OSError."""
    return os.memfd_create(name, os.MFD_CLOEXEC) if sys.platform == "linux" else _unlinked_file()


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
