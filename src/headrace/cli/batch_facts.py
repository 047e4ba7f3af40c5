"""The data of `headrace show` for a batch view: its definition, and what the row store and its notes say."""

from __future__ import annotations

from typing import Any

from headrace.batch.materialized import MaterializedTimes
from headrace.cli.definition_text import batch_source_words, keys_words, span
from headrace.config import Project
from headrace.errors import HeadraceError
from headrace.plan import BatchView, Plan
from headrace.rows import open_rows
from headrace.times import iso_time

__all__ = ["batch_view_facts"]


def batch_view_facts(project: Project, plan: Plan, view: BatchView, keys: str) -> dict[str, Any]:
    """Everything about a batch view, for JSON.

    Args:
        project: The project.
        plan: Its plan.
        view: The view.
        keys: Its keys as arguments of `headrace lookup`.
    """
    notes: list[str] = []
    entities, until = None, None
    try:
        until = MaterializedTimes.of(project).until(view)
        with open_rows(project.store_url, writable=False) as rows:
            entities = sum(1 for _ in rows.entities(view.rows_hash))
    except HeadraceError as error:
        notes.append(f"Its rows cannot be read. {error.what}")
    if until is None and view.push is None:
        notes.append(f"`headrace materialize {view.name}` writes its rows to the online store.")
    return {
        "kind": "view",
        "name": view.name,
        "is": f"rows of {keys_words(view)}, from {batch_source_words(view.source)}",
        "keys": {entity.name: str(entity.dtype) for entity in view.entities},
        "features": {one.name: {"is": "a column of the rows", "type": str(one.dtype)} for one in view.columns},
        "version": view.hash,
        "ttl": None if view.ttl_us is None else span(view.ttl_us),
        "push_source": view.push,
        "services": sorted(name for name, refs in plan.services.items() if any(ref.view == view.name for ref in refs)),
        "entities": entities,
        "materialized_until": iso_time(until),
        "clock": str(project.clock),
        "example": f"headrace lookup --feature '{view.name}:*' {keys}",
        "notes": notes,
    }
