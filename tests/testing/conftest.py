"""The fixture that headrace ships, where it is not installed as a pytest plugin."""

from __future__ import annotations

from headrace.testing.pytest_plugin import testbed

__all__ = ["testbed"]
