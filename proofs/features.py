"""The feature of a plan that a meaning stands for."""

from __future__ import annotations

from headrace.aggregates.registry import aggregate_of
from headrace.plan import DType, Feature, Source
from proofs.brute import Meaning

__all__ = ["feature_of"]


def feature_of(meaning: Meaning, source: Source) -> Feature:
    """The feature.

    Args:
        meaning: What it means.
        source: The source of its view, derived columns included.
    """
    feature = Feature(
        name=meaning.name,
        function=meaning.function,
        column=meaning.column,
        window_us=meaning.window,
        slide_us=meaning.slide,
        dtype=DType.INT64,
        params=meaning.params,
        where=meaning.where,
        offset_us=meaning.offset,
    )
    return feature.model_copy(update={"dtype": aggregate_of(feature, source).result_dtype})
