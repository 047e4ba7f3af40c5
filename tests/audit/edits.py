"""A real difference: a record that somebody edited, checksum and all."""

from __future__ import annotations

from headrace.events.source_partition import SourcePartition
from headrace.records.entity_keys import entity_key
from headrace.records.layout import encode_records
from headrace.records.reader import RecordReader
from headrace.stores import OnlineStore, RecordKey, Write
from headrace.windows import ViewLayout
from tests.worker.shop import SHOPS, SOURCE


def edit_by_hand(store: OnlineStore, name: str, added: int) -> None:
    """Write into the record of a shop (source partition 0) that it sold `added` pieces more, checksum and all."""
    layout = ViewLayout.of(SHOPS, SOURCE)
    key = RecordKey(SHOPS.hash, entity_key([name]), SourcePartition(SOURCE.topic, 0))
    (held,) = store.read([key])
    assert held is not None
    records = RecordReader(layout).decode([held], [key.entity])
    place = layout.places["pieces_ever"]
    _, low = records.tiles[place.family].states[place.accumulator]
    low += added
    (edited,) = encode_records(layout, records)
    assert edited != held
    applied = int(records.applied[0])
    store.commit([Write(key, applied, applied, edited)], {})
