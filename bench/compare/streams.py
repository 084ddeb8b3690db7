"""A lone caller of streams, for the time to the first token."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from math import ceil
from typing import Final

from bench.compare.press import ANSWER_S, Ask, Seen
from bench.compare.samples import SHARES
from bench.errors import BenchError

_EVENT: Final = b"data:"
_END: Final = b"data: [DONE]"
_PIECE_BYTES: Final = 65_536


def first_token(ask: Ask, seconds: float) -> Seen:
    """From a request to the first event of its stream, one request at a time on one connection.

    Raises:
        BenchError: an answer was no whole stream.
    """
    address, _, path = ask.url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    headers, body = dict(ask.headers), ask.body.encode()
    waits_us: list[float] = []
    first_s = time.monotonic()
    try:
        while (lasted_s := time.monotonic() - first_s) < seconds:
            began_ns = time.perf_counter_ns()
            connection.request("POST", f"/{path}", body=body, headers=headers)
            answer = connection.getresponse()
            begun = b""
            while _EVENT not in begun and (piece := answer.read1(_PIECE_BYTES)):
                begun += piece
            waits_us.append((time.perf_counter_ns() - began_ns) / 1e3)
            whole = begun + answer.read()
            if answer.status != 200 or _END not in whole:
                raise BenchError(f"stream {len(waits_us):,} was cut or refused: {answer.status} {whole[-200:]!r}")
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"stream {len(waits_us) + 1:,} failed: {error!r}") from error
    finally:
        connection.close()
    return Seen(len(waits_us), round(lasted_s * 1e6), quantiles(waits_us))


def quantiles(samples: Sequence[float]) -> tuple[float, ...]:
    """The samples at each of `SHARES`."""
    ranked = sorted(samples)
    return tuple(ranked[max(0, ceil(share * len(ranked)) - 1)] for share in SHARES)
