from __future__ import annotations

import pytest

from bench import load
from bench.compare import press
from bench.compare.press import Ask
from bench.compare.samples import SHARES
from bench.errors import BenchError

ASK = Ask("http://127.0.0.1:9/v1", {"authorization": "Bearer sk-1"}, '{"model":"m"}')
LATENCIES = ",".join(str(10 + step) for step in range(len(SHARES)))
LINE = (
    'bench: {"requests":%d,"duration_us":4000000,"latency_us":[' + LATENCIES + "],"
    '"errors":{"connect":0,"read":0,"write":0,"timeout":0,"status":%d}}'
)


def test_the_script_carries_headers_body_and_the_grid() -> None:
    lua = press.script(ASK)
    assert 'wrk.headers["authorization"] = "Bearer sk-1"' in lua
    assert 'wrk.body = [==[{"model":"m"}]==]' in lua
    assert ",0.9,".join(["", ""]) in lua
    assert "@" not in lua


def test_a_body_that_would_end_the_lua_string_is_refused() -> None:
    with pytest.raises(ValueError, match="Lua string"):
        press.script(Ask("http://x/", {}, "]==] os.exit()"))


def test_the_report_is_read_whole() -> None:
    seen = load.clean(load.parse("Running 4s test\n" + LINE % (7, 0), press.Seen))
    assert (seen.requests, seen.duration_us) == (7, 4_000_000)
    assert seen.latency_us[SHARES.index(0.5)] == 10 + SHARES.index(0.5)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "wrk reported nothing: it printed nothing"),
        ("bench: {", "wrk's report cannot be read"),
        (LINE % (7, 1), "of 7 requests some failed: 1 status"),
        (LINE % (0, 0), "no request was answered"),
    ],
    ids=["silent", "cut", "a failure", "none"],
)
def test_what_is_no_clean_report_is_an_error(output: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        load.clean(load.parse(output, press.Seen))
