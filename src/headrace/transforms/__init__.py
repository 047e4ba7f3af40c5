"""Row-wise transforms: columns computed from an event's own columns, for the stream and for the log alike."""

from headrace.extras import needing

with needing("offline"):
    from headrace.transforms.failure_counts import ColumnFailures, Failures, failures_summary
    from headrace.transforms.transformer import Transformer, sql_dtype
    from headrace.transforms.udf import function_code, load_function

__all__ = [
    "ColumnFailures",
    "Failures",
    "Transformer",
    "failures_summary",
    "function_code",
    "load_function",
    "sql_dtype",
]
