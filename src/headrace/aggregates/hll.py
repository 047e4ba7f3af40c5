"""HyperLogLog, by Apache DataSketches (Flajolet, Fusy, Gandouet and Meunier, 2007).

A sketch's registers depend on the set of values alone, but the estimate that DataSketches gives for a sketch that saw values one by one also uses
their order (the HIP estimator). `estimate` merges the sketch with itself first, which marks it as out of order: the composite estimator, which reads
the registers alone, answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from headrace.errors import ConfigError

__all__ = ["estimate", "sketch_of", "union_of"]

_LG_K = 12  # 4,096 registers: a standard error of 1.6%


def sketch_of(values: Iterable[str]) -> bytes:
    """The sketch of some values."""
    library = _library()
    sketch = library.hll_sketch(_LG_K, library.tgt_hll_type.HLL_8)
    for value in values:
        sketch.update(value)
    return bytes(sketch.serialize_compact())


def union_of(sketches: Iterable[bytes]) -> bytes:
    """The sketch of all values of some sketches."""
    library = _library()
    union = library.hll_union(_LG_K)
    for sketch in sketches:
        union.update(library.hll_sketch.deserialize(sketch))
    return bytes(union.get_result(library.tgt_hll_type.HLL_8).serialize_compact())


def estimate(sketch: bytes) -> int:
    """About how many distinct values a sketch has seen."""
    library = _library()
    union = library.hll_union(_LG_K)
    for _ in range(2):
        union.update(library.hll_sketch.deserialize(sketch))
    about: float = union.get_result(library.tgt_hll_type.HLL_8).get_estimate()
    return round(about)


def _library() -> Any:
    try:
        return import_module("datasketches")
    except ImportError as error:
        msg = "Counting many distinct values needs the package datasketches, which is not installed."
        raise ConfigError(msg, cure="pip install 'headrace[sketches]'") from error
