"""Testing features without a broker: the `Testbed` runs a project's own path from events to online and training values.

Imported when it is used: where headrace is installed, every pytest run imports this package for its fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.testing.bed import Testbed

__all__ = ["Testbed"]


def __getattr__(name: str) -> Any:
    if name == "Testbed":
        from headrace.testing.bed import Testbed

        return Testbed
    msg = f"module 'headrace.testing' has no attribute {name!r}"
    raise AttributeError(msg)
