"""Importing Feast late, and without its warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.extras import needing

__all__ = ["quiet_feast", "require_feast"]


def require_feast() -> None:
    """Import Feast.

    Raises:
        MissingExtraError: It is not installed.
    """
    # Users cannot fix what Feast and its dependencies warn about while they load. Loading also sets a filter for the
    # whole process ("once" for every RuntimeWarning); leaving the block removes it.
    with needing("feast"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import feast.repo_operations  # noqa: F401


@contextmanager
def quiet_feast() -> Iterator[None]:
    """Silence Feast's warnings that stream and on-demand feature views are experimental: Feast only registers them.

    Yields:
        Nothing.
    """
    require_feast()
    with warnings.catch_warnings():
        for kind in ("Stream feature views are", "On demand feature view is an"):
            warnings.filterwarnings("ignore", message=f"{kind} experimental", category=RuntimeWarning)
        yield
