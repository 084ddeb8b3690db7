"""What may be played, and what is said of a script that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.upstream import script
from bench.upstream.script import Fault, Freeze

YAML = """\
latency_ms: lognormal:20,80
text_bytes: 400
faults: [{kind: error, share: 0.01, status: 429, retry_after_s: 1}]
freezes: [{at_s: 1, for_ms: 1000}]
routes:
  - {prefix: /slow, tokens_per_s: 50, latency_ms: 400}
  - {prefix: /sound, faults: []}
"""
TOML = """\
latency_ms = "lognormal:20,80"
text_bytes = 400
freezes = [{at_s = 1, for_ms = 1000}]
[[faults]]
kind = "error"
share = 0.01
status = 429
retry_after_s = 1
[[routes]]
prefix = "/slow"
tokens_per_s = 50
latency_ms = 400
[[routes]]
prefix = "/sound"
faults = []
"""


def written(folder: Path, text: str, suffix: str = ".yaml") -> Path:
    path = folder / f"script{suffix}"
    path.write_text(text)
    return path


def test_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    assert script.load(written(tmp_path, YAML)) == script.load(written(tmp_path, TOML, ".toml"))


def test_a_route_inherits_what_it_does_not_say(tmp_path: Path) -> None:
    loaded = script.load(written(tmp_path, YAML))
    slow, sound = (script.played(loaded, route) for route in loaded.routes)
    assert (slow.latency_ms.kind, slow.latency_ms.a) == ("fixed", 400)
    assert slow.gap_ms.a == 20
    assert slow.text_bytes.a == 400
    assert slow.faults == (Fault(kind="error", share=0.01, status=429, retry_after_s=1),)
    assert sound.faults == ()
    assert (sound.latency_ms.kind, sound.latency_ms.b) == ("lognormal", 80)
    assert loaded.freezes == [Freeze(at_s=1, for_ms=1_000)]


def test_a_script_that_says_nothing_answers_at_once(tmp_path: Path) -> None:
    played = script.played(script.load(written(tmp_path, "")), None)
    assert (played.latency_ms.mean, played.gap_ms.mean, played.text_bytes.a, played.faults) == (0, 0, 160, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latncy_ms: 3", "Object contains unknown field `latncy_ms`"),
        ("routes: [{prefix: /a, gap: 3}]", "routes[0]: Object contains unknown field `gap`"),
        ("routes: [{prefix: a}]", "routes[0].prefix: Expected `str` matching regex '^/'"),
        ("routes: [{latency_ms: 3}]", "routes[0]: Object missing required field `prefix`"),
        ("faults: [{kind: err, share: 0.1}]", "faults[0].kind: Invalid enum value 'err'"),
        ("faults: [{kind: error, share: 2}]", "faults[0].share: Expected `float` <= 1.0"),
        ("faults: [{kind: error, share: 0.1, status: 200}]", "faults[0].status: Expected `int` >= 400"),
        (
            "faults: [{kind: reset, share: 0.7}, {kind: error, share: 0.4}]",
            "faults: the shares add up to more than 1",
        ),
        (
            "routes: [{prefix: /a, faults: [{kind: reset, share: 0.7}, {kind: error, share: 0.4}]}]",
            "routes[0].faults: the shares add up to more than 1",
        ),
        (
            "latency_ms: gauss:3,1",
            "latency_ms: 'gauss:3,1' is not a number, uniform:FROM,TO, exponential:MEAN or lognormal:MEDIAN,P99",
        ),
        ("routes: [{prefix: /a, gap_ms: fast}]", "routes[0].gap_ms: 'fast' is not a number, uniform:"),
        ("latency_ms: uniform:3", "latency_ms: uniform takes 2 numbers, not 1"),
        ("latency_ms: exponential:3,4", "latency_ms: exponential takes 1 number, not 2"),
        ("latency_ms: uniform:30,10", "latency_ms: uniform: it ends at 10, before it begins at 30"),
        ("latency_ms: -1", "latency_ms: fixed: its numbers must be finite, and not negative"),
        ("latency_ms: [1]", "latency_ms: Expected `float | str | null`, got `array`"),
        ("gap_ms: 1\ntokens_per_s: 3", "gap_ms: it says the same as tokens_per_s; leave one out"),
        ("tokens_per_s: 0", "tokens_per_s: Expected `float` > 0"),
        ("text_bytes: 0", "text_bytes: an answer has from 1 to 8,000,000 bytes of text"),
        ("text_bytes: exponential:4000000", "text_bytes: an answer has from 1 to 8,000,000 bytes of text"),
        ("freezes: [{for_ms: 1000, every_s: 1}]", "freezes[0].every_s: it would never thaw"),
        ("- a list", "Expected `object`, got `array`"),
        ("a: [", "while parsing a flow node"),
    ],
)
def test_a_bad_script_is_refused_with_its_file_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BenchError) as caught:
        script.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_bad_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"script\.toml: .*line 1"):
        script.load(written(tmp_path, "latency_ms = ]\n", ".toml"))


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"script\.ini: a script is a \.toml or a \.yaml file$"):
        script.load(written(tmp_path, "", ".ini"))
    with pytest.raises(BenchError, match=r"none\.yaml: No such file or directory$"):
        script.load(tmp_path / "none.yaml")


def test_a_fault_of_the_command_line_is_read() -> None:
    assert script.fault("error:0.05,status=429,retry_after_s=2") == Fault(
        kind="error", share=0.05, status=429, retry_after_s=2
    )
    assert script.fault("stall:1,for_ms=250,at=0.1") == Fault(kind="stall", share=1, for_ms=250, at=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("error", "share: Expected `float`"),
        ("err:0.1", "kind: Invalid enum value 'err'"),
        ("error:0.1,state=3", "Object contains unknown field `state`"),
        ("error:0.1,status=ok", "status: Expected `int`"),
    ],
)
def test_a_bad_fault_of_the_command_line_is_refused_with_its_key(text: str, message: str) -> None:
    with pytest.raises(BenchError) as caught:
        script.fault(text)
    assert str(caught.value).startswith(f"--fault {text}: {message}")
