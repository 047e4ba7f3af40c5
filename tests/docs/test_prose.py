"""README and docs are easy to read: short lines, no words that people stumble over, and an example first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")])
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
RIDDLES = re.compile(
    r"\b(put by|portions?|octets?|mends?|mended|cures?|anew|of late(?! events)|by the way|is to be had|so many"
    r"|for good|let go of|whoever|as it stands|telling of|held back)\b",
    re.IGNORECASE,
)
"""Words that have a plainer one: archive, chunk, bytes, fix, hint, again, recently, …"""
SOURCE = [*ROOT.glob("src/headrace/**/*.py"), *ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("proofs/*.py")]
OF_COMMANDS = (
    "audit",
    "cli",
    "datasets",
    "erasure",
    "handoff",
    "import",
    "kafka",
    "log",
    "production",
    "proofs",
    "topics",
)

pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@pages
def test_lines_of_prose_end_at_120(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    assert [line for line in prose if len(line) > 120 and not line.startswith(("|", "!["))] == []


@pages
def test_words_are_plain(page: Path) -> None:
    if page.name == "0023-the-house.md":  # names the words that went
        return
    prose = re.sub(r"`[^`]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert RIDDLES.findall(prose) == []


def test_words_in_source_files_are_plain() -> None:
    found = {str(path.relative_to(ROOT)): RIDDLES.findall(path.read_text(encoding="utf-8")) for path in SOURCE}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize("name", OF_COMMANDS)
def test_a_page_of_commands_begins_with_an_example(name: str) -> None:
    _, *lines = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines()
    begin = [line for line in lines if line][:8]
    assert any(line.startswith(("```console", "$ ")) for line in begin)
