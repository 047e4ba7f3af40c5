"""Definitions as text for people."""

from __future__ import annotations

from headrace.plan import BatchSource, BatchView, Column, Feature, OnDemandView, Source, View

__all__ = ["batch_source_words", "feature_words", "input_words", "keys_words", "source_words", "span"]

_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("µs", 1))


def span(us: int) -> str:
    """A duration in the largest unit of which it is a whole number.

    >>> span(5_400_000_000), span(86_400_000_000), span(0)
    ('90 min', '1 d', '0 s')

    Args:
        us: The duration, in µs.
    """
    if us == 0:
        return "0 s"
    unit, size = next((unit, size) for unit, size in _UNITS if us % size == 0)
    return f"{us // size:,} {unit}"


def feature_words(feature: Feature | Column) -> str:
    """A feature as text: `mean of dep_delay where is_late, over the last 24 h, moving every 15 min`.

    Args:
        feature: The feature.
    """
    if isinstance(feature, Column):
        return "a column of the rows"
    parameters = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in feature.params)
    function = f"{feature.function}({parameters})" if parameters else feature.function
    what = function if feature.column == "*" else f"{function} of {feature.column}"
    where = f" where {feature.where}" if feature.where else ""
    return f"{what}{where}, {_window_words(feature)}"


def _window_words(feature: Feature) -> str:
    if feature.window_us is None or feature.slide_us is None:
        return "ever"
    window, slide = span(feature.window_us), span(feature.slide_us)
    back = f", up to {span(feature.offset_us)} ago" if feature.offset_us else ""
    if feature.slide_us == feature.window_us:
        return f"in the current {window} (tumbling){back}"
    moving = "exact" if feature.slide_us == 1 else f"moving every {slide}"
    return f"over the last {window}, {moving}{back}"


def keys_words(view: View | BatchView) -> str:
    """The entities of a view's features as text.

    Args:
        view: The view.
    """
    return " and ".join(view.join_keys) or "everything"


def batch_source_words(source: BatchSource) -> str:
    """A batch view's source as text.

    Args:
        source: The source.
    """
    where = {"parquet": f"Parquet at {source.path}", "delta": f"the Delta table {source.path}", "query": "a query"}
    created = f", created at {source.created_field}" if source.created_field else ""
    return f"{source.name}: {where[source.kind]}; event time is {source.timestamp_field}{created}"


def input_words(view: OnDemandView) -> str:
    """What an on-demand view is computed from, as text.

    Args:
        view: The view.
    """
    fields = f"the request's {', '.join(field.name for field in view.request)}" if view.request else ""
    return " and ".join(part for part in (", ".join(view.source_views), fields) if part)


def source_words(source: Source) -> str:
    """A source as text.

    Args:
        source: The source.
    """
    keyed = f"keyed by {source.key}" if source.key else "without a key"
    once = (
        f"; events with the same {source.event_id} count once within {span(source.dedup_us)}" if source.event_id else ""
    )
    return f"Kafka topic {source.topic}, {keyed}, of {source.model}; event time is {source.timestamp_field}{once}"
