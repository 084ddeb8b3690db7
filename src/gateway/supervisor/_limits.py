"""What the machine grants: how many workers it can feed, and how many file descriptors each may open."""

from __future__ import annotations

import resource
from pathlib import Path

from gateway.supervisor import _platform

FDS_PER_STREAM = 2
"""The caller's socket and the provider's."""
FDS_CARRIED = 2
"""More, where a connection is carried to an edge: on all but the first."""
FDS_BESIDE = 64
"""Of a process that relays nothing: listeners, logs, spool, shared memory, idle upstream connections being swapped."""


def worker_count(requested: int | None = None, root: Path = Path("/")) -> int:
    """How many workers to run: `requested`, else one a CPU that affinity and the cgroup's quota leave to us.

    Args:
        requested: at least 1, or None to decide here.
        root: where `proc` and `sys` lie.

    Raises:
        ValueError: `requested` is below 1.
    """
    if requested is not None:
        if requested < 1:
            raise ValueError(f"{requested} workers were asked for; at least 1 is needed")
        return requested
    cpus = _platform.usable_cpus()
    quota = _platform.cpu_quota(root)
    return cpus if quota is None else min(cpus, quota)


def check_file_limit(connections: int, edges: int = 1) -> list[str]:
    """Raises the limit of open files as far as it may go, for this process and its children to come.

    Args:
        connections: how many callers' connections each edge of a worker may hold at once.
        edges: of a worker.

    Returns:
        One line for each thing that an operator should mend; empty where the limit suffices.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted, problems = plan_file_limit(soft, hard, connections, edges)
    if wanted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return problems


def plan_file_limit(soft: int, hard: int, connections: int, edges: int) -> tuple[int, list[str]]:
    """The soft limit to set, and what is wrong with it all the same."""
    each = FDS_PER_STREAM * edges + FDS_CARRIED * (edges - 1)
    needed = each * connections + FDS_BESIDE
    if hard == resource.RLIM_INFINITY:
        # "Unlimited" as a soft limit is refused by macOS, and makes programs that walk all descriptors walk for ever.
        return (soft if soft == resource.RLIM_INFINITY else max(soft, needed)), []
    if needed <= hard:
        return hard, []
    fits = max(0, (hard - FDS_BESIDE) // each)
    where = "" if edges == 1 else f" on each of its {edges} edges"
    return hard, [
        f"{connections} connections a worker{where} need {needed} open files and the limit is {hard}: raise it "
        f"(`LimitNOFILE={needed}` in systemd, `--ulimit nofile={needed}` for containers, `ulimit -Hn {needed}` in a "
        f"root shell) or allow fewer: `bounds: {{connections: {fits}}}`"
    ]
