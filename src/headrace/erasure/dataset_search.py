"""Exported datasets that still hold an entity: they are named, and never touched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.log.dataset_pins import manifests_below

__all__ = ["Holder", "datasets_holding"]


@dataclass(frozen=True)
class Holder:
    """A dataset that holds an entity.

    Attributes:
        manifest: The path of its manifest.
        rows: How many of its rows are the entity's; None where a file of it cannot be read, so that it must be taken to
            hold it.
    """

    manifest: str
    rows: int | None


def datasets_holding(folders: Iterable[Path], values: Mapping[str, pa.Scalar]) -> list[Holder]:
    """Find the datasets below some folders whose rows hold an entity.

    Args:
        folders: Where to look; hidden folders in them are skipped, but these folders may be hidden.
        values: By join key, the value; all must be met.

    Returns:
        The datasets, by path. A dataset without the join keys as columns holds only features, and is not named.
    """
    manifests = {path.resolve() for folder in folders for path in manifests_below(folder)}
    found = [Holder(str(path), _rows(path, values)) for path in sorted(manifests)]
    return [holder for holder in found if holder.rows != 0]


def _rows(manifest: Path, values: Mapping[str, pa.Scalar]) -> int | None:
    rows = 0
    for file in json.loads(manifest.read_text(encoding="utf-8"))["files"]:
        try:
            parquet = pq.ParquetFile(manifest.parent / file["path"])
            if not set(values) <= set(parquet.schema_arrow.names):
                continue
            table = parquet.read(columns=list(values))
            matches = [
                pc.fill_null(pc.equal(table.column(name).cast(value.type), value), False)
                for name, value in values.items()
            ]
        except (OSError, pa.ArrowException, KeyError, TypeError):
            return None  # a file that cannot be read may have such rows
        hit = matches[0]
        for other in matches[1:]:
            hit = pc.and_(hit, other)
        rows += pc.sum(hit).as_py() or 0
    return rows
