"""A report whose figures are worked out by hand."""

from __future__ import annotations

from bench.figures import Comparison, Machine, Report, Sample, Series


def sample(worker_cpu_us: float, tree_cpu_us: float | None = None) -> Sample:
    return Sample(
        requests=40_000,
        requests_per_s=10_000.0,
        p50_us=4_000.0,
        p99_us=9_500.0,
        worker_cpu_us=worker_cpu_us,
        tree_cpu_us=worker_cpu_us if tree_cpu_us is None else tree_cpu_us,
    )


NGINX = Series("nginx", ("proxies",), (sample(20.0), sample(18.0), sample(25.0)))
OURS = Series("throughway", ("keys", "<limits>"), (sample(40.0, 50.0), sample(45.0, 54.0), sample(37.5, 47.5)))
COMPARISON = Comparison("chat", "a chat completion", (NGINX, OURS))
MACHINE = Machine(cpu="A <CPU>", cores=2, kernel="6.1", python="3.11.7", nginx="1.22.1", wrk="4.1.0")
REPORT = Report(MACHINE, rounds=3, seconds=4, connections=64, comparisons=(COMPARISON,))
