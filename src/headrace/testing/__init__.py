"""Testing features without a broker: the `Testbed` runs a feature repo's own path from events to online and training values."""

from headrace.testing.bed import Testbed

__all__ = ["Testbed"]
