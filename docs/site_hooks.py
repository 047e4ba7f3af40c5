"""What mkdocs cannot do by settings: pages from the repository's root, the version, and every decision in the menu."""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
SITE = {ROOT / name: DOCS / page for name, page in (ROOT_PAGES | {"README.md": "index.md"}).items()}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Show the version in the footer, and list the decisions."""
    source = (ROOT / "src/headrace/__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    config.copyright = f"headrace {version}, Apache-2.0"
    (decisions,) = [section["Decisions"] for section in config.nav if "Decisions" in section]
    decisions += [f"adr/{path.name}" for path in sorted((DOCS / "adr").glob("0*.md"))]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the repository's root."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository, as GitHub needs them, into links between pages of the site.

    A link to a file that is no page, such as a Makefile, becomes its text.
    """
    in_site = DOCS / page.file.src_uri
    in_repository = {made: path for path, made in SITE.items() if path.name in ROOT_PAGES}.get(in_site, in_site)

    def led(link: re.Match[str]) -> str:
        text, target, anchor = link.groups(default="")
        path = Path(os.path.normpath(in_repository.parent / target))
        path = SITE.get(path, path)
        if path.suffix != ".md" or not path.is_relative_to(DOCS):
            return text
        return f"[{text}]({os.path.relpath(path, in_site.parent)}{anchor})"

    return LINK.sub(led, markdown)
