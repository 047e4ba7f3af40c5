"""Remarks of `headrace status` on the past: a log that was replaced under its store, erasures that are not finished."""

from __future__ import annotations

from headrace.config import Project
from headrace.errors import HeadraceError
from headrace.plan import Plan
from headrace.stores import open_store

__all__ = ["remarks_on_the_past"]

_REBUILD = "`headrace stream --rebuild` fills the online store again from the log."


def remarks_on_the_past(project: Project, plan: Plan) -> list[str]:
    """Why store, log and recorded lookups may differ although nothing is broken.

    Args:
        project: The project.
        plan: Its plan.

    Returns:
        Remarks; none where the store cannot be read, which is reported elsewhere.
    """
    try:
        from headrace.erasure import Ledger, views_counting_erased
        from headrace.log import made_log

        with open_store(project.store_url, writable=False) as store:
            catalogue = store.catalogue()
        ledger = Ledger.load(project.erasures)
        found = []
        for source in plan.sources.values():
            ids, made = catalogue.origin.logs.get(source.topic, ()), made_log(project.log_root, source)
            if len(ids) > 1 or (ids and (made is None or made.id not in ids)):
                found.append(
                    f"The online records of {source.topic} were made from a log that was removed or replaced since; "
                    f"`headrace audit` does not compare what they serve. {_REBUILD}"
                )
        counting = sorted(views_counting_erased(plan, catalogue, ledger))
    except (HeadraceError, ImportError):
        return []
    found += [
        f"An erasure by {' and '.join(one.names)} was interrupted: run the same `headrace forget` again to finish it."
        for one in ledger.erasures.values()
        if not one.is_finished
    ]
    if counting:
        found.append(f"{', '.join(counting)} still count erased events for other keys. {_REBUILD}")
    return found
