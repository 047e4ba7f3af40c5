"""What README and docs point at exists: files, headings, make targets and headrace commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```[a-z]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)

pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get on the usual forges."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(text: str) -> str:
    """What a page sets as code, a line per span or block line."""
    return "\n".join(block or span for block, span in CODE.findall(text))


@pages
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(FENCE.sub("", text)):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name} links to {link}"


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    named = set(re.findall(r"^ *\$? *make ([a-z][a-z-]*)", code(page.read_text(encoding="utf-8")), re.MULTILINE))
    assert named <= targets


def test_headrace_commands_exist() -> None:
    spoken_of = "\n".join(code(page.read_text(encoding="utf-8")) for page in PAGES)
    names = sorted(set(re.findall(r"^ *\$? *(?:\.venv/bin/)?headrace ([a-z]+)", spoken_of, re.MULTILINE)))
    script = (
        "import sys, typer, headrace.cli as cli\n"
        "commands = typer.main.get_command(cli.app).commands\n"
        "print(*[name for name in sys.argv[1:] if name not in commands])"
    )
    asked = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    assert names
    assert asked.stdout.split() == []


def test_every_decision_is_listed() -> None:
    listed = re.findall(
        r"^\| \[\d{4}\]\((\d{4}-[\w-]+\.md)\)", (ROOT / "docs/adr/README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == sorted(path.name for path in ROOT.glob("docs/adr/0*.md"))
