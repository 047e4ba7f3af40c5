"""What a store says of itself: the catalogue reads what changes wrote, and the facts keep their names."""

from __future__ import annotations

import json
import random

import pytest

from headrace.config import Clock
from headrace.errors import StoreFormatError
from headrace.stores import Catalogue, CatalogueChange, Readiness
from headrace.stores.catalogue import FORMAT, Origin, refuse_other_format
from headrace.stores.memory import MemoryStore
from tests.worker.handoffs import VERSIONS
from tests.worker.shop import SHOPS

TEN, TWENTY, THIRTY = (VERSIONS[window] for window in (10, 20, 30))


def store_with(*changes: CatalogueChange) -> MemoryStore:
    store = MemoryStore()
    for change in changes:
        store.change(change)
    return store


def test_facts_keep_the_names_that_stores_in_use_have() -> None:
    change = CatalogueChange().clock(Clock.SYSTEM).serve([TEN]).previous(SHOPS.name, TWENTY.hash)
    change.building(SHOPS.name, THIRTY).since(TEN.hash, 5).upto(TWENTY.hash, 2, 9).built(THIRTY.hash, [1])
    change.refused(THIRTY.hash, "why").topic("sales", "c/1", {"a": 1}).made_from("sales", ["x", "y"])
    change.filled(7).failures({"v.c": {"failed": 1}})
    facts = change.written
    assert int(facts.pop("generation") or 0) > 0
    assert facts == {
        "format": FORMAT,
        "clock": "system",
        f"view:{SHOPS.name}": TEN.hash,
        f"previous:{SHOPS.name}": TWENTY.hash,
        f"building:{SHOPS.name}": THIRTY.hash,
        f"definition:{TEN.hash}": TEN.model_dump_json(),
        f"definition:{THIRTY.hash}": THIRTY.model_dump_json(),
        f"since:{TEN.hash}": "5",
        f"upto:{TWENTY.hash}:2": "9",
        f"built:{THIRTY.hash}:1": "yes",
        f"refused:{THIRTY.hash}": "why",
        "topic:sales": "c/1",
        "history:sales": '{"a":1}',
        "log:sales": "x,y",
        "filled": "7",
        "transform_failures": '{"v.c": {"failed": 1}}',
    }


def test_catalogue_reads_what_changes_wrote() -> None:
    change = CatalogueChange().clock(Clock.RECORD).serve([TEN]).building(SHOPS.name, THIRTY)
    change.upto(THIRTY.hash, 0, 2**53 + 1).built(THIRTY.hash, [1, 12]).topic("eu:sales.v1", "c/1", {"a": [1]})
    found = store_with(change).catalogue()
    assert (found.clock, found.live, found.building) == (
        Clock.RECORD,
        {SHOPS.name: TEN.hash},
        {SHOPS.name: THIRTY.hash},
    )
    assert found.definitions() == {TEN.hash: TEN, THIRTY.hash: THIRTY}
    assert found.building_views() == {SHOPS.name: THIRTY}
    assert (found.applied(THIRTY.hash, 0), found.applied(THIRTY.hash, 5), found.applied("other", 0)) == (
        2**53 + 1,
        -1,
        -1,
    )
    assert found.built == {THIRTY.hash: {1, 12}}
    assert (found.lineages, found.histories) == ({"eu:sales.v1": "c/1"}, {"eu:sales.v1": {"a": [1]}})


def test_store_is_empty_then_filling_then_ready() -> None:
    store = MemoryStore()
    assert store.catalogue().readiness is Readiness.EMPTY
    store.change(CatalogueChange().clock(Clock.SYSTEM).serve([TEN], is_filling=True))
    assert store.catalogue().readiness is Readiness.FILLING
    store.end_filling()
    ready = store.catalogue()
    assert ready.readiness is Readiness.READY
    store.end_filling()
    assert store.catalogue() == ready


def test_change_of_nothing_writes_nothing() -> None:
    assert store_with(CatalogueChange()).meta() == {}


def test_forgotten_version_leaves_no_fact_and_others_stay() -> None:
    def progress(version: str) -> CatalogueChange:
        return CatalogueChange().upto(version, 0, 1).built(version, [0, 1]).since(version, 3)

    store = store_with(
        CatalogueChange().define(TEN).define(TWENTY), progress(TEN.hash), progress(TWENTY.hash), CatalogueChange()
    )
    store.change(CatalogueChange().forget(TEN.hash, store.catalogue()))
    other = store_with(CatalogueChange().define(TWENTY), progress(TWENTY.hash))
    assert store.meta() == other.meta()


@pytest.mark.parametrize(
    ("since", "roles"),
    [
        ({}, ["live", "before", "building"]),
        ({TEN.hash: 5, TWENTY.hash: 3}, ["live", "before", "building"]),
        ({TEN.hash: 5, TWENTY.hash: 8}, ["live", "undone", "building"]),
        ({TWENTY.hash: 8}, ["live", "undone", "building"]),
    ],
)
def test_version_that_went_live_later_than_the_live_one_was_undone(since: dict[str, int], roles: list[str]) -> None:
    change = CatalogueChange().serve([TEN]).define(TWENTY).previous(SHOPS.name, TWENTY.hash)
    change.building(SHOPS.name, THIRTY)
    for version, us in since.items():
        change.since(version, us)
    kept = store_with(change).catalogue().kept_versions(SHOPS.name)
    assert [one.role for one in kept] == roles
    assert [one.view for one in kept] == [TEN, TWENTY, THIRTY]
    assert [one.since_us for one in kept] == [since.get(TEN.hash), since.get(TWENTY.hash), None]


@pytest.mark.parametrize("seed", range(20))
def test_built_share_counts_offsets_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    ends = {partition: dice.randrange(-1, 8) for partition in range(dice.randrange(4))}
    upto = {partition: dice.randrange(-1, 10) for partition in ends if dice.random() < 0.7}
    built = [partition for partition in ends if dice.random() < 0.3]
    change = CatalogueChange().built(TEN.hash, built)
    for partition, offset in upto.items():
        change.upto(TEN.hash, partition, offset)
    offsets = [(partition, offset) for partition, end in ends.items() for offset in range(end + 1)]
    done = [one for one in offsets if one[0] in built or one[1] <= upto.get(one[0], -1)]
    share = store_with(change).catalogue().built_share(TEN.hash, ends)
    assert share == (len(done) / len(offsets) if offsets else 1.0)


def test_origin_reads_back_what_a_lookup_carries() -> None:
    origin = Origin(7, {"sales": ("x", "y")})
    assert origin.to_json() == '{"filled": "7", "log:sales": "x,y"}'
    assert Origin.of(json.loads(origin.to_json())) == origin
    assert Origin.of({}) == Origin()
    assert Origin().to_json() == "{}"


@pytest.mark.parametrize("facts", [{"clock": "system"}, {"clock": "system", "format": "3"}])
def test_facts_of_another_format_are_refused(facts: dict[str, str]) -> None:
    with pytest.raises(StoreFormatError, match="--rebuild"):
        refuse_other_format(facts)


def test_new_store_and_one_of_this_format_are_accepted() -> None:
    refuse_other_format({})
    refuse_other_format(store_with(CatalogueChange().clock(Clock.SYSTEM)).meta())
    assert Catalogue.of({}).clock is None
