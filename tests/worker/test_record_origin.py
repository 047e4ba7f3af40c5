"""A store notes which logs its records are made from, and since when."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headrace.config import Clock
from headrace.errors import LogError
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog, made_log, make_log
from headrace.stores import Catalogue, CatalogueChange, OnlineStore, Position, Readiness
from headrace.stores.memory import MemoryStore
from headrace.worker.record_origin import check_refillable_from, note_origin
from tests.worker.shop import PLAN, SOURCE


def note(store: OnlineStore, root: Path) -> Catalogue:
    note_origin(store, root, PLAN.sources.values())
    return store.catalogue()


def filled() -> MemoryStore:
    store = MemoryStore()
    store.change(CatalogueChange().clock(Clock.SYSTEM))
    store.commit([], {SourcePartition("sales", 0): Position(3, 1, 1)})
    return store


def log_id(root: Path) -> str:
    return make_log(root, SOURCE).id


def test_log_of_a_new_topic_is_left_to_its_first_append(tmp_path: Path) -> None:
    origin = note(MemoryStore(), tmp_path).origin
    assert origin.logs == {}
    assert origin.filled_us is not None
    assert made_log(tmp_path, SOURCE) is None


def test_empty_store_takes_the_log_that_is_there(tmp_path: Path) -> None:
    made = log_id(tmp_path)
    assert note(MemoryStore(), tmp_path).origin.logs == {"sales": (made,)}


def test_filled_store_keeps_what_it_knows_and_says_it_once(tmp_path: Path) -> None:
    log_id(tmp_path)
    store = filled()
    first = note(store, tmp_path)
    assert note(store, tmp_path) == first
    assert first.origin.filled_us is None


def test_filled_store_that_noted_nothing_is_taken_to_come_from_the_log_that_is_there(tmp_path: Path) -> None:
    made = log_id(tmp_path)
    assert note(filled(), tmp_path).origin.logs == {"sales": (made,)}


def test_filled_store_whose_log_is_gone_knows_of_two(tmp_path: Path) -> None:
    first, store = log_id(tmp_path), filled()
    generation = note(store, tmp_path).generation
    shutil.rmtree(EventLog(tmp_path, SOURCE).path)
    catalogue = note(store, tmp_path)
    assert catalogue.origin.logs == {"sales": (first, log_id(tmp_path))}
    assert catalogue.generation != generation  # so that clients that run read it again


def test_filled_store_that_noted_nothing_and_has_no_log_knows_that_it_does_not_know(tmp_path: Path) -> None:
    known, made = note(filled(), tmp_path).origin.logs["sales"]
    assert (known, made) == ("unknown", log_id(tmp_path))


def test_store_that_is_being_filled_stays_so(tmp_path: Path) -> None:
    log_id(tmp_path)
    store = MemoryStore()
    store.change(CatalogueChange().clock(Clock.SYSTEM).serve([], is_filling=True))
    assert note(store, tmp_path).readiness is Readiness.FILLING


def test_store_whose_log_is_gone_is_not_emptied_unasked(tmp_path: Path) -> None:
    log_id(tmp_path)
    store = filled()
    note(store, tmp_path)
    check_refillable_from(store, tmp_path, PLAN.sources.values())
    shutil.rmtree(EventLog(tmp_path, SOURCE).path)
    with pytest.raises(LogError, match="the log of 'sales' from which it was filled is not at"):
        check_refillable_from(store, tmp_path, PLAN.sources.values())
    note(store, tmp_path)  # a worker went on since, with a log of its own
    with pytest.raises(LogError, match="headrace stream --rebuild"):
        check_refillable_from(store, tmp_path, PLAN.sources.values())


def test_store_of_before_the_first_append_may_be_filled_anew(tmp_path: Path) -> None:
    store = filled()
    check_refillable_from(store, tmp_path, PLAN.sources.values())
    note(store, tmp_path)
    check_refillable_from(store, tmp_path, PLAN.sources.values())
