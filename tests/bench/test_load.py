from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.load import Errors, Outcome, clean, parse, script

# As wrk 4.1.0 printed it.
RECORDED = """\
Running 4s test @ http://127.0.0.1:39999/v1/chat/completions
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     8.21ms   27.64ms 334.61ms   97.51%
    Req/Sec    11.42k     1.86k   14.20k    77.50%
  45535 requests in 4.01s, 66.03MB read
Requests/sec:  11361.26
Transfer/sec:     16.47MB
bench: {"requests":45535,"duration_us":4007918,"p50_us":4728,"p99_us":334367,"errors":{"connect":0,"read":0,"write":0,"timeout":0,"status":0}}
"""
NONE = Errors(connect=0, read=0, write=0, timeout=0, status=0)


def test_the_report_is_read_whole() -> None:
    assert parse(RECORDED, Outcome) == Outcome(
        requests=45_535, duration_us=4_007_918, p50_us=4_728, p99_us=334_367, errors=NONE
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "wrk reported nothing: it printed nothing"),
        (RECORDED.partition("bench: ")[0], "wrk reported nothing: Running 4s test"),
        ('bench: {"requests":', "wrk's report cannot be read"),
        ('bench: {"requests":1}', "wrk's report cannot be read"),
    ],
    ids=["silent", "no line", "cut", "a field missing"],
)
def test_what_is_no_report_is_an_error(output: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse(output, Outcome)


@pytest.mark.parametrize("what", ["connect", "read", "write", "timeout", "status"])
def test_one_failed_request_fails_the_run(what: str) -> None:
    counts = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0, what: 1}
    with pytest.raises(BenchError, match=f"^of 1,200 requests some failed: 1 {what}$"):
        clean(Outcome(requests=1_200, duration_us=1, p50_us=1, p99_us=1, errors=Errors(**counts)))


def test_no_request_at_all_fails_the_run() -> None:
    with pytest.raises(BenchError, match="no request was answered"):
        clean(Outcome(requests=0, duration_us=1, p50_us=0, p99_us=0, errors=NONE))


def test_the_script_carries_body_and_key() -> None:
    lua = script('{"model":"m"}', "sk-1")
    assert 'wrk.body = [==[{"model":"m"}]==]' in lua
    assert '"Bearer sk-1"' in lua
    assert "@" not in lua


def test_a_body_that_would_end_the_lua_string_is_refused() -> None:
    with pytest.raises(ValueError, match="Lua string"):
        script("]==] os.exit()", "sk-1")
