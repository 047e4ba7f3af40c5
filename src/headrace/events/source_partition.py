"""A partition of a source's topic. An offset is unique within it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SourcePartition"]


class SourcePartition(NamedTuple):
    """A partition of a source's topic."""

    topic: str
    partition: int
