"""How many examples a property test tries: few in `make check`, all of them where slow tests run."""

from __future__ import annotations

import pytest

__all__ = ["few_and_many"]


def few_and_many(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test twice, with `examples` set to each number; the run with many examples is a slow test."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])
