"""Plays a probe against an edge, and says what was not as its column has it. Any edge's tests use it."""

from __future__ import annotations

import ssl

from tests.probes.table import FOLLOWER, SCRIPT, SLOW, STREAM, Probe, Verdict
from tests.probes.wire import Outcome, Step, Wire
from tests.support.scripted_upstream import Received, ScriptedUpstream


def with_follower(probe: Probe) -> tuple[Step, ...]:
    """The probe's steps, with the follower in the last write."""
    *before, last = probe.steps
    assert isinstance(last, bytes)
    return (*before, last + FOLLOWER)


def play(address: tuple[str, int], probe: Probe, expected: Verdict, tls: ssl.SSLContext | None = None) -> Outcome:
    """Plays a probe and its follower, until the connection ends or is proven to go on.

    Over TLS, which has no half-close, an end that was announced is one: the server waits for the client to close.
    """
    goes_with_it = probe.pipelined and bool(probe.steps) and isinstance(probe.steps[-1], bytes)
    with Wire(address, probe.bodiless, tls) as wire:
        wire.play(with_follower(probe) if goes_with_it else probe.steps)
        if expected.closes:
            wire.wait_for_end(announced=tls is not None)
            return wire.outcome
        own = len(expected.statuses)
        if not goes_with_it:
            wire.wait_for(own)
            wire.play([FOLLOWER])
        wire.wait_for(own + 1)
        wire.play([FOLLOWER])  # nothing of the probe is left to be read
        wire.wait_for(own + 2)
        return wire.outcome


def judge(probe: Probe, expected: Verdict, outcome: Outcome) -> list[str]:
    """What is wrong, a line each."""
    wanted = (*expected.statuses, *(() if expected.closes else (200, 200)))
    found = outcome.statuses
    faults = []
    if not expected.unsure and (
        len(found) != len(wanted) or any(w not in (None, f) for w, f in zip(wanted, found, strict=False))
    ):
        faults.append(f"answers {found[:9]}, not {wanted[:9]}")
    if outcome.rest:
        faults.append(f"bytes that are no answer: {outcome.rest[:200]!r}")
    if outcome.reset:
        faults.append("a reset, which may take the answer away")
    if outcome.closed != expected.closes:
        faults.append("closes" if outcome.closed else "stays open")
    final = [answer for answer in outcome.answers if answer.status >= 200]
    if any(answer.said_close for answer in final[:-1]):
        faults.append("goes on behind an answer that said close")
    refused = expected.closes and final and final[-1].status >= 400
    if refused and not final[-1].said_close:
        faults.append("closes behind an answer that did not say so")
    if refused and final[-1].body and final[-1].code in (None, "None"):
        faults.append(f"a refusal that is no error of OpenAI's shape: {final[-1].body[:200]!r}")
    return [f"{probe.name}: {fault}" for fault in faults]


def received(upstream: ScriptedUpstream) -> list[Received]:
    """What reached the provider, in order."""
    requests = [request for name in (SCRIPT, SLOW, STREAM) for request in upstream.requests_of(name)]
    return sorted(requests, key=lambda request: request.at)
