"""Heads of ten fields, both directions: the kernel beside httptools (llhttp) with the callbacks that a server needs, and h11.

python -m bench.kernels.http1 [ROUNDS]
"""

from __future__ import annotations

from functools import partial

import h11
import httptools

from _fastpath.http1 import RequestHead, ResponseHead
from bench.kernels.frame import Case, called, rounds_asked_for, show
from bench.kernels.native import loops
from bench.kernels.wire import REQUEST_HEAD, RESPONSE_HEAD

NS_A_HEAD = 1_000  # a million a second


class Fields:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def with_h11(role: type[h11.CLIENT | h11.SERVER], head: bytes) -> object:
    connection = h11.Connection(role)
    if role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.receive_data(head)
    return connection.next_event()


CASES = [
    Case(
        "a request",
        {
            "kernel": partial(loops.request_head, RequestHead(), REQUEST_HEAD),
            "httptools": called(lambda: httptools.HttpRequestParser(Fields()).feed_data(REQUEST_HEAD)),
            "h11": called(with_h11, h11.SERVER, REQUEST_HEAD),
        },
        bar=NS_A_HEAD,
    ),
    Case(
        "a response",
        {
            "kernel": partial(loops.response_head, ResponseHead(), RESPONSE_HEAD),
            "httptools": called(lambda: httptools.HttpResponseParser(Fields()).feed_data(RESPONSE_HEAD)),
            "h11": called(with_h11, h11.CLIENT, RESPONSE_HEAD),
        },
        bar=NS_A_HEAD,
    ),
]


def main(rounds: int) -> None:
    show(CASES, rounds)


if __name__ == "__main__":
    main(rounds_asked_for())
