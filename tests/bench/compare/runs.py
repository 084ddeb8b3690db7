"""A run whose figures are worked out by hand: latencies rise by equal steps over the grid, CPU is round."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.compare.samples import SHARES, Conditions, Held, Load, Machine, Memory, Run, Skipped, Target, Turn

STORED = Path(__file__).with_name("run.json")
"""The same, as `compare --json` printed it."""
MIB = 1_048_576


def latencies(base_us: float) -> tuple[float, ...]:
    """`base_us` at 0, one more at each step of the grid."""
    return tuple(base_us + step for step in range(len(SHARES)))


def load(base_us: float, cpu_s: float | None, requests: int = 10_000, connections: int = 1) -> Load:
    return Load(
        scenario="chat",
        connections=connections,
        requests=requests,
        duration_s=4.0,
        latency_us=latencies(base_us),
        cpu_s=cpu_s,
    )


def held(cpu_us: float) -> Held:
    """An event costs as much as a request under a full load; a stream 10 KiB."""
    return Held(
        streams=1_024,
        begun_s=0.5,
        window_s=8.0,
        events=32_000,
        cpu_s=cpu_us * 32_000 / 1e6,
        before_bytes=63 * MIB,
        size_bytes=73 * MIB,
    )


def turn(number: int, base_us: float, cpu_us: float | None, start_s: float | None = None, **faults: str) -> Turn:
    """CPU is a request's under a full load; a stream of 50 events costs twice as much, a lone request half again."""
    cpu_s = None if cpu_us is None else cpu_us * 10_000 / 1e6
    loads = {
        "chat 1": load(base_us, None if cpu_s is None else cpu_s * 1.5),
        "chat 8": load(base_us * 3, cpu_s, requests=20_000, connections=8),
        "chat half": msgspec.structs.replace(load(base_us * 4, None), offered_per_s=1_250.0),
        "chat half direct": msgspec.structs.replace(load(base_us * 3, None), offered_per_s=1_250.0),
        "stream first": load(base_us * 2, None, requests=1_000),
        "chat full": load(base_us * 10, cpu_s, connections=64),
        "stream full": load(base_us * 20, None if cpu_s is None else cpu_s * 2, connections=64),
    }
    sizes = {"idle": (50,), "chat full": (60, 62, 64), "end": (63,)}
    phases = [(phase, size) for phase, each in sizes.items() for size in each]
    memory = [Memory(minute * 60.0, size * MIB, phase) for minute, (phase, size) in enumerate(phases)]
    if cpu_us is None:
        loads = {name: one for name, one in loads.items() if not name.startswith("chat half")}
    return Turn(
        round=number,
        start_s=start_s,
        idle_bytes=None if cpu_us is None else 50 * MIB,
        loads={name: one for name, one in loads.items() if name not in faults},
        held=None if cpu_us is None or "held" in faults else held(cpu_us),
        memory=() if cpu_us is None else tuple(memory),
        faults={name.replace("_", " "): reason for name, reason in faults.items()},
    )


def target(name: str, does: str, features: tuple[str, ...], turns: tuple[Turn, ...]) -> Target:
    return Target(name=name, version="" if name == "direct" else "1.2", does=does, features=features, turns=turns)


DIRECT = target("direct", "nothing", ("alone",), (turn(1, 50, None), turn(2, 60, None), turn(3, 70, None)))
NGINX = target("nginx", "proxies", ("bare",), (turn(1, 90, 20, 0.02), turn(2, 110, 22, 0.03), turn(3, 130, 18, 0.04)))
OURS = target(
    "throughway",
    "governs",
    ("keys", "<limits>"),
    (turn(1, 150, 40, 0.5), turn(2, 140, 44, 0.6), turn(3, 170, 38, 0.4)),
)
SLOW = target(
    "litellm",
    "auth, routes",
    ("master key",),
    (
        turn(1, 9_000, 6_000, 20.0),
        turn(2, 9_000, 6_000, 21.0, **{"stream full": "of 7 requests some failed: 1 status"}),
        turn(3, 9_000, 6_000, 22.0),
    ),
)
DEAD = target(
    "envoy",
    "proxies",
    ("statistics",),
    tuple(Turn(round=number, faults={"start": "it ended with 1 while it started: <no luck>"}) for number in (1, 2, 3)),
)
RUN = Run(
    machine=Machine(cpu="A <CPU>", cores=2, kernel="6.1", python="3.11.7", load="wrk 4.1.0"),
    conditions=Conditions(
        rounds=3,
        scenarios=("chat", "stream"),
        seconds=4,
        warm_up_s=2,
        connections=64,
        streams=1_024,
        target_core=1,
        other_cores=(0,),
        busy_before=0.5,
    ),
    targets=(DIRECT, NGINX, DEAD, SLOW, OURS),
    skipped=(Skipped("smg", "smg==1.13.0 is not installed: python -m bench compare --install --target smg"),),
)
