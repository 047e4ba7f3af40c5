"""The documentation site builds from its lock, with strict links and without the network."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from headrace import __all__ as public
from headrace import __version__
from tests.e2e.flights import ROOT

LOADED = re.compile(r"""<(?:script|img|iframe)[^>]*\bsrc=["']?(\S+?)["'>]|<link[^>]*\bhref=["']?(\S+?)["'>]""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs-site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(["make", "-s", ".venv-docs/.ready"], cwd=ROOT, check=True, capture_output=True)
    # Nothing listens at these proxies, so whatever asks the network fails.
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    built = subprocess.run(
        ["make", "-s", "docs-site", f"SITE={folder}"],
        cwd=ROOT, env={**os.environ, **proxies}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_page_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in ROOT.glob("docs/**/*.md")}
    pages |= {"contributing", "security", "changelog"}
    for page in pages:
        built = site / f"{page.removesuffix('index').removesuffix('README')}" / "index.html"
        assert built.exists(), page
        loaded = [one or other for one, other in LOADED.findall(built.read_text(encoding="utf-8"))]
        assert loaded
        assert not [link for link in loaded if link.startswith(("http:", "https:", "//"))], page


@pytest.mark.slow
def test_site_says_the_version_and_documents_every_public_name(site: Path) -> None:
    assert f"headrace {__version__}" in (site / "index.html").read_text(encoding="utf-8")
    reference = "".join(path.read_text(encoding="utf-8") for path in site.glob("reference/**/index.html"))
    missing = [name for name in public if f'id="headrace.{name}"' not in reference]
    assert missing in ([], ["HeadraceError"])
    assert 'id="headrace.errors.HeadraceError"' in reference
    assert 'id="headrace.testing.Testbed"' in reference
