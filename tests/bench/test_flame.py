"""A flame graph is as wide as its samples, and shows whose a frame is."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bench.flame import WIDTH, Frame, fold, kind_of, render

STACKS = [
    "main (cli.py:3);uv_run (core.c:464);read (loop.c:10);data_received (_fastpath/edge.so);admit (gateway/phases/admit.so:7) 30",
    "main (cli.py:3);uv_run (core.c:464);read (loop.c:11);write (libc.so.6) 60",
    "main (cli.py:3);uv_run (core.c:464);epoll_pwait (libc.so.6) 500",
    "start (threading.py:9);work (a.py:1) 70",
    'main (cli.py:3);uv_run (core.c:464);read (loop.c:12);<b>&"c" (libpython3.so) 10',
]


def folded() -> Frame:
    return fold(STACKS, "uv_run", "epoll_pwait")


def test_stacks_of_one_function_are_one_frame_and_idle_ones_are_left_out() -> None:
    whole = folded()
    assert whole.samples == 100
    assert list(whole.beneath) == ["read (loop.c)"]
    assert {name: frame.samples for name, frame in whole.beneath["read (loop.c)"].beneath.items()} == {
        "data_received (_fastpath/edge.so)": 30,
        "write (libc.so.6)": 60,
        '<b>&"c" (libpython3.so)': 10,
    }


def test_the_picture_is_well_formed_and_to_scale() -> None:
    drawn = render(folded(), "a < b & c")
    ElementTree.fromstring(drawn)
    widths = dict(re.findall(r'<title>([^<]*): [\d.]+%</title><rect x="[\d.]+" y="\d+" width="([\d.]+)"', drawn))
    assert float(widths["uv_run"]) == pytest.approx(WIDTH, abs=1)
    assert float(widths["write (libc.so.6)"]) == pytest.approx(WIDTH * 0.6, abs=1)
    assert "write (libc.so.6): 60.0%" in drawn


def test_nothing_seen_is_drawn_as_nothing() -> None:
    ElementTree.fromstring(render(fold([], "uv_run", "x"), "nothing"))


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ("data_received (_fastpath/edge.cpython-311-x86_64-linux-gnu.so)", "kernels"),
        ("admit (gateway/phases/admit.cpython-311-x86_64-linux-gnu.so)", "phases"),
        ("uv__read (stream.c)", "event loop"),
        ("Py_DECREF (object.h)", "Python"),
        ("_run_code (<frozen runpy>)", "libc and Linux"),
        ("write (libc.so.6)", "libc and Linux"),
    ],
)
def test_a_frame_has_the_colour_of_whose_it_is(frame: str, kind: str) -> None:
    assert kind_of(frame).name == kind
