"""HyperLogLog, by Apache DataSketches (Flajolet, Fusy, Gandouet and Meunier, 2007).

A sketch's registers depend on the set of values only, but DataSketches adds two things that depend on their order: a
running estimate (the HIP estimator) and, while there are few values, their places in a hash table. So every sketch here
is the result of a union, which leaves the running estimate out (the composite estimator answers from the registers),
and few values are sorted: the same set gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from headrace.extras import needing

__all__ = ["estimate", "sketch_of", "union_of"]

_LG_K = 12  # 4,096 registers: a standard error of 1.6%
_FEW = {2: 8, 3: 12}
"""By the first byte of a sketch that still keeps its values (32 bits of their hashes, as a list or a hash table): where
they start."""
_FLAGS = 5
_OUT_OF_ORDER = 0x10


def sketch_of(values: Iterable[str]) -> bytes:
    """The sketch of some values."""
    library = _library()
    sketch = library.hll_sketch(_LG_K, library.tgt_hll_type.HLL_8)
    for value in values:
        # JSON is never empty (DataSketches ignores empty texts), and it is ASCII whatever the text is.
        sketch.update(json.dumps(value))
    alone = bytes(sketch.serialize_compact())
    return union_of([alone, alone])


def union_of(sketches: Iterable[bytes]) -> bytes:
    """The sketch of all values of some sketches."""
    library = _library()
    union = library.hll_union(_LG_K)
    for sketch in sketches:
        union.update(library.hll_sketch.deserialize(sketch))
    merged = bytes(union.get_result(library.tgt_hll_type.HLL_8).serialize_compact())
    if merged[0] in _FEW:
        return _in_order(merged)
    # Registers that were filled from few values, and not from other registers, still carry the running estimate.
    return merged if merged[_FLAGS] & _OUT_OF_ORDER else union_of([merged, merged])


def estimate(sketch: bytes) -> int:
    """About how many distinct values a sketch has seen."""
    about: float = _library().hll_sketch.deserialize(sketch).get_estimate()
    return round(about)


def _in_order(sketch: bytes) -> bytes:
    """A sketch of few values, sorted."""
    start = _FEW[sketch[0]]
    return sketch[:start] + np.sort(np.frombuffer(sketch, "<u4", offset=start)).tobytes()


def _library() -> Any:
    with needing("sketches"):
        return import_module("datasketches")
