"""docs/architecture.md maps the code of today, and ADR 0023 says where the modules of before are now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = [
    *("One event", "One lookup", "One training row", "One row of a batch view"),
    *("One request of Feast's", "One change of a view", "One erasure"),
]
TEN_MINUTES = 10 * 200
"""Words that a person reads in that time."""


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert len(named) > 50
    assert [name for name in sorted(named) if not (ROOT / "src" / "headrace" / name).exists()] == []


def test_every_room_is_in_the_drawing() -> None:
    drawing = PAGE.split("```text\n")[1].split("```")[0]
    folders = [path for path in (ROOT / "src" / "headrace").iterdir() if (path / "__init__.py").exists()]
    assert [room.name for room in folders if room.name not in drawing] == []


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_has_at_most_twelve_steps(walk: str) -> None:
    section = PAGE.split(f"\n## {walk}\n")[1].split("\n## ")[0]
    steps = re.findall(r"^(\d+)\. ", section, re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 5 < len(steps) <= 12


def test_it_is_read_in_ten_minutes() -> None:
    assert len(PAGE.split()) < TEN_MINUTES


def test_every_module_that_moved_is_where_adr_0023_says() -> None:
    page = (ROOT / "docs" / "adr" / "0023-the-house.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `[\w/]+\.py` \| (.+) \|$", page.split("## What moved")[1], re.MULTILINE)
    assert len(rows) > 150
    places = [(re.findall(r"`(\w+/[\w/]+\.py)`", row), row) for row in rows]
    assert [row for found, row in places if not found and not row.startswith("removed: ")] == []
    assert [name for found, _ in places for name in found if not (ROOT / "src" / "headrace" / name).exists()] == []
