"""Tuning of the C library's heap: a worker's large arrays reuse memory instead of asking the system for it."""

from __future__ import annotations

import ctypes
import logging

__all__ = ["keep_heap"]

logger = logging.getLogger(__name__)

# From malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 256 << 20
_MAPPED_FROM = 32 << 20
"""The greatest value that the library allows."""


def keep_heap() -> bool:
    """Keep up to 256 MiB of freed memory for the next allocations, of all threads, if the C library can do that.

    Without it every array above 128 KiB is mapped again and its pages are filled with zeros one fault at a time: a
    quarter of what applying a round costs. (A thread's own arena would not do: its heaps are of 64 MiB, and each is
    unmapped as soon as it is empty.)

    Returns:
        Whether the library took it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        logger.debug("The C library has no mallopt: large arrays are mapped again each time")
        return False
    settings = {_M_MMAP_THRESHOLD: _MAPPED_FROM, _M_TRIM_THRESHOLD: _KEPT_BYTES, _M_ARENA_MAX: 1}
    return all(bool(mallopt(setting, value)) for setting, value in settings.items())
