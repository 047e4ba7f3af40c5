"""Rows whose folder was removed and made again while the server runs: no write goes to the file that is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headrace.config import Project
from headrace.errors import StoreUnavailableError
from headrace.rows import open_rows
from headrace.rows.base import Row
from headrace.serving.context import ServingContext
from headrace.serving.limits import Limits
from headrace.serving.metrics import Metrics

VIEW = "00" * 8


def test_writes_are_refused_until_the_rows_are_opened_again(own_shop: Path) -> None:
    project = Project.load(own_shop)
    context = ServingContext(project, Limits(), Metrics())
    context.refresh()
    context.rows().write(VIEW, [Row(b"one", 1, b"")])
    context.refresh()
    shutil.rmtree(f"{project.store_url.partition(':')[2]}-rows")
    with pytest.raises(StoreUnavailableError, match="opened again"):
        context.rows()
    context.refresh()
    context.rows().write(VIEW, [Row(b"two", 1, b"")])
    with context.using():
        assert list(context.rows().entities(VIEW)) == [b"two"]
    context.rows().close()
    assert list(open_rows(project.store_url, writable=False).entities(VIEW)) == [b"two"]
