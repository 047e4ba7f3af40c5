"""The drawings in docs/semantics.md are tests: each goes through the worker, and is looked up online and in the log."""

from __future__ import annotations

import pytest

from tests.docs.drawings import check, drawings, read

DRAWINGS = drawings("semantics.md")


@pytest.mark.parametrize(("title", "text"), DRAWINGS, ids=[title for title, _ in DRAWINGS])
def test_a_drawing_is_what_happens(title: str, text: str) -> None:
    check(read(text), event_ids="twice" in title)


def test_every_section_of_the_rule_has_its_drawing() -> None:
    assert len(DRAWINGS) == 9
