"""The positions of rows that are about to be appended, and those that the log has already."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from headrace.errors import LogError
from headrace.events.columns import BoolArray, IntArray
from headrace.log.log_columns import OFFSET, PARTITION

__all__ = ["check_positions", "newer_rows"]


def newer_rows(rows: pa.Table, last: Mapping[int, int]) -> BoolArray:
    """Which rows are past the last offset of their partition.

    Args:
        rows: The rows.
        last: By partition, the last offset that the log has.
    """
    partition, offset = _positions_of(rows)
    newer = np.ones(rows.num_rows, np.bool_)
    for number, end in last.items():
        newer &= (partition != number) | (offset > end)
    return newer


def check_positions(rows: pa.Table, positions: Mapping[int, int], topic: str) -> None:
    """Refuse rows past the offsets that an append stands for, and rows with the same position.

    Raises:
        LogError: There are such rows.
    """
    partition, offset = _positions_of(rows)
    for number in np.unique(partition).tolist():
        mine = offset[partition == number]
        if number not in positions or int(mine.max()) > positions[number]:
            given = positions.get(number)
            msg = f"Rows of {topic}-{number} reach offset {mine.max()}, and the append says it stands for {given}."
            raise LogError(msg)
        if (np.diff(mine) <= 0).any() and len(np.unique(mine)) != len(mine):
            msg = f"Rows of {topic}-{number} have an offset twice, between {mine.min()} and {mine.max()}."
            raise LogError(msg)


def _positions_of(rows: pa.Table) -> tuple[IntArray, IntArray]:
    return rows.column(PARTITION).to_numpy(), rows.column(OFFSET).to_numpy()
