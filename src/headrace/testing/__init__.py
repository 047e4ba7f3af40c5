"""Testing features without a broker: the `Testbed` runs a project's own path from events to online and training values.

Imported when it is used: where headrace is installed, every pytest run imports this package for its fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.extras import lazy_names

if TYPE_CHECKING:
    from headrace.testing.testbed import Testbed

__all__ = ["Testbed"]


__getattr__ = lazy_names(__name__, {"Testbed": "headrace.testing.testbed"}, extra="all")
