"""Events that do not fit in memory go to disk by entity, and the parts are computed one after the other.

Every row group is read once. Its events go to the parts of their entities, with the columns that are needed, as Arrow
streams in a temporary folder. One entity's events stay together, so those of the busiest must fit in memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from headrace.aggregates import IntArray
from headrace.errors import HeadraceError
from headrace.events.event_batch import ARROW_TYPES
from headrace.history.column_files import LogFiles, plain
from headrace.history.entity_index import KeyIndex
from headrace.history.join_plan import AsOf, JoinPlan
from headrace.history.log_events import Events, TableEvents, positions, select
from headrace.log.log_columns import KNOWN_AT, OFFSET, PARTITION, TS
from headrace.plan import DType

__all__ = ["bytes_of", "parts_needed", "spill"]

_KEY = "_key_id"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SHARE = 0.5
"""The default limit, as a share of the machine's memory; and how much of the limit is used before going to disk."""

_PER_EVENT = 80
_PER_COLUMN = {DType.STRING: 40, DType.JSON: 40}
_PER_NUMBER = 16
"""About how many bytes an event takes while it is sorted and summed, and each of its columns."""

_PART_SHARE = 0.3
"""How much of the limit a part may take: reading and writing need memory too."""

_MOST_PARTS = 256
"""Each part is an open file."""


def bytes_of(memory_limit: str | None) -> int:
    """A limit such as "4GB" in bytes.

    Args:
        memory_limit: A number and a unit; None is half of the machine's memory.

    Raises:
        HeadraceError: The text is no amount of memory.
    """
    if memory_limit is None:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE)
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", memory_limit)
    if found is None or found[2].upper() not in _UNITS:
        msg = f"memory_limit must be an amount of memory, not {memory_limit!r}."
        raise HeadraceError(msg, hint="Write it as a number and a unit: '4GB' or '512MiB'.")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def parts_needed(files: LogFiles, plan: JoinPlan, limit: int) -> int:
    """In how many parts a view must be computed to stay within a limit; 1 is all at once, in memory.

    Args:
        files: Where the events are.
        plan: The view's part of the join plan.
        limit: The limit in bytes.
    """
    dtypes = [plan.source.column(column).dtype for column in plan.columns]
    each = _PER_EVENT + sum(_PER_COLUMN.get(dtype, _PER_NUMBER) for dtype in dtypes)
    needed = files.rows * each
    return 1 if needed <= limit * _SHARE else min(_MOST_PARTS, -(-needed // max(1, int(limit * _PART_SHARE))))


def spill(
    files: LogFiles,
    plan: JoinPlan,
    keys: KeyIndex,
    derive: Callable[[pa.Table], pa.Table] | None,
    parts: int,
    folder: Path,
) -> list[Callable[[], Events]]:
    """Write events to disk, by entity.

    Args:
        files: Where the events are.
        plan: The view's part of the join plan.
        keys: The spine's entities; entity k goes to part k mod `parts`.
        derive: Appends derived columns to a table of events; None where the view has none.
        parts: How many parts to make.
        folder: Where to write.

    Returns:
        By part, what reads it.

    Raises:
        LogError: A file does not read.
        HeadraceError: The disk does not suffice.
    """
    schema = _schema(plan)
    join_keys = plan.view.join_keys
    read = files.every_column if derive else list(dict.fromkeys([*schema.names[:-1], *join_keys]))
    paths = [folder / f"{part}.arrow" for part in range(parts)]
    try:
        with ExitStack() as stack:
            streams = [stack.enter_context(ipc.new_stream(path, schema)) for path in paths]
            for unit in files.units:
                table = files.read(unit, read)
                selected = select(table, join_keys, keys, files.bounds, KNOWN_AT)
                if len(selected.key_id):
                    table = plain(table if selected.keep is None else table.filter(pa.array(selected.keep)))
                    table = (derive(table) if derive else table).append_column(_KEY, pa.array(selected.key_id))
                    _deal(table.select(schema.names).cast(schema), selected.key_id % parts, streams)
    except OSError as error:
        hint = "Give a higher memory_limit or space in the temporary folder ($TMPDIR), or join the spine in parts."
        msg = f"The point-in-time join needs more space on disk: {error}"
        raise HeadraceError(msg, hint=hint) from error
    return [partial(_read, path, known=plan.as_of is AsOf.KNOWN) for path in paths]


def _schema(plan: JoinPlan) -> pa.Schema:
    times = {TS: pa.int64(), KNOWN_AT: pa.int64(), PARTITION: pa.int32(), OFFSET: pa.int64()}
    columns = {name: ARROW_TYPES[plan.source.column(name).dtype] for name in plan.columns}
    return pa.schema(list((columns | times).items()) + [(_KEY, pa.int64())])


def _deal(table: pa.Table, part: IntArray, streams: Sequence[ipc.RecordBatchStreamWriter]) -> None:
    dealt = table.take(pa.array(np.argsort(part.astype(np.uint16), kind="stable")))
    start = 0
    for stream, rows in zip(streams, np.bincount(part, minlength=len(streams)).tolist(), strict=True):
        if rows:
            stream.write_table(dealt.slice(start, rows))
        start += rows


def _read(path: Path, *, known: bool) -> TableEvents:
    with ipc.open_stream(path) as stream:
        table = stream.read_all()
    path.unlink()
    key_id, ts_us = table.column(_KEY).to_numpy(), table.column(TS).to_numpy()
    known_us = table.column(KNOWN_AT).to_numpy() if known else ts_us
    return TableEvents(table, key_id, ts_us, known_us, partial(positions, table))
