"""The formats that events are written in, by name.

A new format is a class that follows `base.Format`, and a name in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import BaseModel

from headrace.events.formats.base import Format
from headrace.events.formats.json import JsonFormat
from headrace.plan import Source

__all__ = ["FORMATS"]

FORMATS: Mapping[str, Callable[[Source, type[BaseModel]], Format]] = MappingProxyType({"json": JsonFormat})
"""By the name that a source gives, what reads it."""
