"""Lookups of a shop that are recorded, and what an audit makes of them."""

from __future__ import annotations

import shutil
from typing import Any

from headrace.audit import AuditReport, audit_lookups
from headrace.lookup import FeatureClient
from tests.erasure.shop import PLAN, Shop


def make_log_anew(shop: Shop, *records: Any, keep_store: bool = False) -> None:
    """Somebody removes the log (and the store), and workers begin with other events."""
    shutil.rmtree(shop.log.path)
    if not keep_store:
        shop.store.clear()
    shop.note_origin()
    shop.deliver(*records)
    shop.note_origin()


def serve(shop: Shop, *asked: dict[str, Any], features: str | list[str] = "shop_sales:*") -> None:
    chosen = [features] if isinstance(features, str) else features
    with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
        client.get_online_features(chosen, list(asked))


def of_shops(*names: str) -> list[dict[str, Any]]:
    return [{"shop": name} for name in names]


def apart(report: AuditReport) -> dict[str, int]:
    return {str(reason): count for reason, count in report.apart.items() if count}


def outcome(shop: Shop) -> tuple[dict[str, int], int, int]:
    """What is apart, how many match, how many differ."""
    report = audit_lookups(shop.project)
    assert report.lookups == sum(report.apart.values()) + report.matches + report.mismatched
    assert report.ok == (report.mismatched == 0)
    return apart(report), report.matches, report.mismatched
