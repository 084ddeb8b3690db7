"""Takes up certificates, keys and authorities whose files have changed: of the listeners, and of each provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.dataplane.compile import Pools
from gateway.net.tls import TlsFiles

LOOK_EVERY_S = 0.5

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""


async def follow_certificates(listeners: Sequence[TlsFiles], pools: Pools, report: Report) -> None:
    """Looks again and again. What has changed is taken by new connections; what is broken is reported, and the last good one stays."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        watched = [*listeners, *pools.tls_files()]
        if watched:
            await _look(watched, report)


async def _look(watched: list[TlsFiles], report: Report) -> None:
    outcomes = await asyncio.to_thread(lambda: [files.renew() for files in watched])
    for files, outcome in zip(watched, outcomes, strict=True):
        if outcome:
            report("error", "tls.refused", of=files.name, files=list(files.files), error=outcome)
        elif outcome is not None:
            report("info", "tls.renewed", of=files.name, files=list(files.files))
