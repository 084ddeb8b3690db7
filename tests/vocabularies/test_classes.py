"""The committed classes are those of tiktoken's own engine, and the tables made of them say the same."""

from __future__ import annotations

import sys

from vocabularies import derive_classes
from vocabularies.classes import BLOCK, CLASSES_FILE, CODE_POINTS, MIXED, Class, of_lead_bytes, read_classes, two_stages


def test_the_committed_classes_are_what_tiktoken_says() -> None:
    derived = derive_classes.derive()
    assert derived == read_classes()
    assert derive_classes.render(derived).splitlines()[2:] == CLASSES_FILE.read_text().splitlines()[2:]


def test_only_an_s_may_be_long_in_a_contraction() -> None:
    """The kernel spells out the letters of contractions in both cases, and the long s."""
    for letter in "tmdrevl":
        assert set(derive_classes.matching(f"(?i:{letter})")) == {letter, letter.upper()}
    assert set(derive_classes.matching("(?i:s)")) == {"s", "S", "\u017f"}


def test_the_two_stages_say_of_each_code_point_what_the_list_says() -> None:
    classes = read_classes()
    stage, blocks = two_stages(classes)
    assert b"".join(blocks[number * BLOCK : (number + 1) * BLOCK] for number in stage) == classes


def test_a_lead_byte_has_a_class_if_all_of_its_characters_have_it() -> None:
    classes = read_classes()
    leads = of_lead_bytes(classes)
    of_lead: dict[int, set[int]] = {}
    for code in range(CODE_POINTS):
        if not 0xD800 <= code < 0xE000:
            of_lead.setdefault(chr(code).encode()[0], set()).add(classes[code])
    for lead, found in of_lead.items():
        assert leads[lead] == (found.pop() if len(found) == 1 else MIXED) or lead == 0xED
    assert leads[0xED] == MIXED  # surrogates begin with it, and are no characters


def test_classes_do_not_come_from_the_running_python() -> None:
    assert "unicodedata" not in vars(sys.modules["vocabularies.classes"])
    assert read_classes()[0x1C89] == Class.UPPER  # new in Unicode 16
