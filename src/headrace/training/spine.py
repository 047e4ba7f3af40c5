"""Reading a spine from what a data scientist has at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import duckdb
import pyarrow as pa

from headrace.errors import SpineError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Spine", "spine_table"]

Spine: TypeAlias = Union[pa.Table, "pd.DataFrame", duckdb.DuckDBPyRelation, str, "os.PathLike[str]"]
"""An Arrow table (or what gives one as a stream), a data frame, a DuckDB relation, or a Parquet or CSV file's path."""


def spine_table(spine: Spine) -> pa.Table:
    """A spine as an Arrow table.

    Args:
        spine: The spine.

    Returns:
        The table, rows in order.

    Raises:
        SpineError: It is none of these, or the file cannot be read.
    """
    if isinstance(spine, pa.Table):
        return spine
    if isinstance(spine, duckdb.DuckDBPyRelation):
        return spine.to_arrow_table()
    if isinstance(spine, str | os.PathLike):
        return _read(Path(spine))
    if hasattr(spine, "columns") and hasattr(spine, "iloc"):
        return pa.Table.from_pandas(spine, preserve_index=False)
    if hasattr(spine, "__arrow_c_stream__"):
        return pa.table(spine)
    msg = f"A spine cannot be a {type(spine).__name__}."
    raise SpineError(msg, cure="Pass an Arrow table, a data frame, a DuckDB relation, or a Parquet or CSV path.")


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        msg = f"There is no spine at {path}."
        raise SpineError(msg, cure="Give the path of a Parquet or CSV file.")
    try:
        if path.suffix == ".csv":
            from pyarrow import csv

            return csv.read_csv(path)
        from pyarrow import parquet

        return parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        msg = f"The spine {path} cannot be read: {str(error).splitlines()[0]}"
        raise SpineError(msg, cure="It should be Parquet, or CSV with the ending .csv.") from error
