"""How much a property test tries: a little in `make check`, all of it in `make test`."""

from __future__ import annotations

import pytest

__all__ = ["few_and_many"]


def few_and_many(few: int, many: int, name: str = "examples") -> pytest.MarkDecorator:
    """Parametrize a test with two sizes. `make check` runs it with few, `make test` with many.

    Args:
        few: The size of the short form.
        many: The size of the long form, which is a slow test.
        name: The argument of the test.
    """
    short, long = pytest.mark.short, pytest.mark.slow
    return pytest.mark.parametrize(
        name, [pytest.param(few, id="few", marks=short), pytest.param(many, id="many", marks=long)]
    )
