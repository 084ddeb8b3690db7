"""No byte of one tenant ever reaches another.

What the edge writes is the very object that it read, and a full socket keeps a reference to it for as long as its client
pleases. Two tenants ask at the same time, over many connections that fill up again and again; their prompts and answers
are made of bytes that are theirs alone, and all that arrives anywhere must be, byte for byte, what was sent.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.e2e.conftest import secret_of
from tests.e2e.node import Gateway
from tests.probes.table import CHAT
from tests.probes.wire import SMALL_BUFFER_BYTES, connected
from tests.support.scripted_upstream import (
    DONE,
    Received,
    Script,
    ScriptedUpstream,
    completion,
    delta,
    json_answer,
    stream,
    usage_event,
)

LONG_S = float(os.environ.get("THROUGHWAY_ZERO_COPY_S", "600"))
CLIENTS = 5
"""Of each tenant."""
ANSWER_BYTES = 6_000_000
"""More than the sockets take between the node and a client that waits."""
PROMPT_BYTES = 150_000
STALL_S = 0.15
"""So long a client takes nothing, after which its socket is full."""


@dataclass
class Tenant:
    """Its key, and the one character that its texts are made of."""

    name: str
    mark: str
    events: list[bytes] = field(default_factory=list)
    body: bytes = b""
    prompts: list[str] = field(default_factory=list)
    """That reached the provider and were not looked at yet."""
    asked: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes = random.Random(self.name)
        whole = 0
        while whole < ANSWER_BYTES:
            size = sizes.choice([1, 7, 900, 5_000, 30_000, 100_000])
            self.events.append(delta({"content": self.mark * size}, asked=True))
            whole += len(self.events[-1])
        self.events += [delta({}, "stop", asked=True), usage_event(), DONE]
        (self.body,) = json_answer(completion(self.mark * (ANSWER_BYTES // len(self.mark.encode()))))  # type: ignore[assignment]

    def answer(self, received: Received) -> Script:
        self.prompts.append(received.json["messages"][0]["content"])
        return stream(self.events) if received.json.get("stream") else [self.body]


def prompt_of(tenant: Tenant) -> str:
    return tenant.mark * (PROMPT_BYTES // len(tenant.mark.encode()))


def client_of(node: Gateway) -> http.client.HTTPConnection:
    """A client with a small buffer, so that what it does not take waits in the node."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    connection.sock = connected(("127.0.0.1", node.port), SMALL_BUFFER_BYTES)
    connection.sock.settimeout(60)
    return connection


def ask_until(deadline: float, node: Gateway, tenant: Tenant, script: str, seed: int) -> None:
    """One client: asks, takes nothing for a while, takes all, compares; again and again, on one connection."""
    turns = random.Random(seed)
    whole = {True: b"".join(tenant.events), False: tenant.body.partition(b"\r\n\r\n")[2]}
    fields = {"content-type": "application/json", "x-api-key": secret_of(tenant.name)}
    messages = [{"role": "user", "content": prompt_of(tenant)}]
    with contextlib.closing(client_of(node)) as connection:
        while time.monotonic() < deadline and not tenant.faults:
            streamed = turns.random() < 0.6
            more = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
            body = {"model": "gpt-4o-mini", "x_script": script, "messages": messages, **more}
            connection.request("POST", CHAT.decode(), json.dumps(body), fields)
            time.sleep(turns.random() * STALL_S)
            answer = connection.getresponse().read()
            if answer != whole[streamed]:
                at = next((i for i, (a, b) in enumerate(zip(answer, whole[streamed], strict=False)) if a != b), -1)
                tenant.faults.append(
                    f"{len(answer)} bytes, wrong from byte {at}: {answer[max(0, at - 99) : at + 99]!r}"
                )
            tenant.asked += 1


@pytest.mark.parametrize(
    "duration_s",
    [1.0, pytest.param(LONG_S, marks=[pytest.mark.nightly, pytest.mark.timeout(LONG_S + 120)])],
    ids=["short", "long"],
)
def test_no_byte_of_one_tenant_reaches_another(
    make_gateway: Callable[..., Gateway], upstream: ScriptedUpstream, duration_s: float
) -> None:
    tenants = [Tenant("spades", "\u2660"), Tenant("clubs", "c")]
    node = make_gateway(keys={tenant.name: {} for tenant in tenants}, log_level="warning")
    deadline = time.monotonic() + duration_s
    clients = [
        threading.Thread(target=ask_until, args=(deadline, node, tenant, upstream.script(tenant.answer), seed))
        for seed, tenant in enumerate(tenants * CLIENTS)
    ]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        time.sleep(0.2)
        for tenant in tenants:
            while tenant.prompts:
                if tenant.prompts.pop() != prompt_of(tenant):
                    tenant.faults.append("another prompt reached its provider")
        upstream.forget()
    for client in clients:
        client.join()
    assert not [fault for tenant in tenants for fault in tenant.faults]
    assert all(tenant.asked >= CLIENTS for tenant in tenants)
    print(
        f"\n{sum(tenant.asked for tenant in tenants)} answers of {ANSWER_BYTES / 1e6:g} MB compared in {duration_s:g} s"
    )
