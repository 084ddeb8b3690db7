"""The parts of a governed request, and what each costs of a profile.

A part is a function of the gateway with all that it calls, less the parts within it. A part whose function is not found is an error,
so that a name that changed is not taken for a saving.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from bench import callgrind
from bench.errors import BenchError

NATIVE, DEF = "__pyx_f_", "__pyx_pw_"


class Part(NamedTuple):
    """A part of a request.

    Args:
        what: for people.
        function: as Cython names it in C, from the module on; `#` is a number.
        within: parts whose cost is not its own.
    """

    name: str
    what: str
    function: str
    within: tuple[str, ...] = ()


PARTS: Final = (
    Part(
        "edge",
        "the caller's connection: its request is put together",
        "9_fastpath_4edge_14EdgeConnection__read",
        ("parse head", "pipeline"),
    ),
    Part("parse head", "HTTP/1.1 of the request", "9_fastpath_5http1_parse_request_into"),
    Part(
        "pipeline",
        "the order of the phases, the request's context and id",
        "7gateway_9dataplane_8pipeline_8Pipeline_#on_request",
        ("authenticate", "parse body", "admit", "route", "transform", "send"),
    ),
    Part(
        "authenticate",
        "the key's digest, and what it may do",
        "7gateway_6phases_12authenticate_13Authenticator_authenticate",
    ),
    Part(
        "parse body",
        "JSON of the request: what governs it",
        "7gateway_5codec_8dialects_11openai_chat_6native_read_chat",
    ),
    Part("admit", "limits and budgets of key and team", "7gateway_6phases_5admit_9Admission_admit", ("count",)),
    Part("count", "tokens of the prompt", "9_fastpath_6tokens_8Encoding_#count_all"),
    Part("route", "a target of the model", "7gateway_6phases_5route_choose"),
    Part("transform", "the request as the provider gets it", "7gateway_6phases_9transform_build"),
    Part("send", "to a connection of the pool", "7gateway_6phases_8upstream_begin"),
    Part(
        "receive",
        "the provider's connection: HTTP/1.1 of the answer",
        "9_fastpath_8upstream_18UpstreamConnection__received",
        ("relay",),
    ),
    Part(
        "relay",
        "the answer's header lines, and the answer to the caller",
        "7gateway_6phases_5relay_5Relay_#on_response",
        ("usage", "account"),
    ),
    Part(
        "usage", "JSON of the answer: what was used", "7gateway_5codec_8dialects_11openai_chat_6native_response_usage"
    ),
    Part("account", "prices, metrics and the usage record", "7gateway_9dataplane_8pipeline_8Pipeline_finish", ("log",)),
    Part("log", "a line of the log", "7gateway_8adapters_4logs_9LogWriter_request"),
)
REST: Final = "threads"
"""What is none of a connection's: the threads that write records and log."""


def ledger(costs: callgrind.Costs) -> dict[str, float]:
    """Instructions by part, in the order of PARTS; the rest last.

    Raises:
        BenchError: a part's function is not in the profile, or a part costs less than what is within it.
    """
    whole = {part.name: costs.inclusive(_function(costs, part)) for part in PARTS}
    own = {part.name: whole[part.name] - sum(whole[name] for name in part.within) for part in PARTS}
    if wrong := [name for name, cost in own.items() if cost < 0]:
        raise BenchError(f"the ledger's parts are not within each other as it says: {', '.join(wrong)}")
    return {**own, REST: costs.total - sum(own.values())}


def _function(costs: callgrind.Costs, part: Part) -> str:
    number = "#" in part.function
    pattern = re.compile(re.escape((DEF if number else NATIVE) + part.function).replace(r"\#", r"\d+") + r"\Z")
    found = [name for name in costs.own if pattern.search(name)]
    if len(found) != 1:
        raise BenchError(f"the part {part.name!r} is one function of the profile, not {len(found)}: {part.function}")
    return found[0]


def measured() -> dict[str, float]:
    """The ledger of this tree.

    Raises:
        MissingError: valgrind is not on this machine.
        BenchError: the request failed, or its parts are not found.
    """
    return ledger(callgrind.measure("bench.ledger.request"))


def parts(names: Iterable[str] | None = None) -> dict[str, float]:
    """Instructions of these parts, or of all but the threads', whose figure is the noise of a start, too."""
    found = {name: round(cost) for name, cost in measured().items() if name != REST}
    return {name: found[name] for name in (found if names is None else names)}


def whole(_: Iterable[str] | None = None) -> dict[str, float]:
    """Instructions of a request, the threads' left out."""
    return {"a chat completion": sum(parts().values())}
