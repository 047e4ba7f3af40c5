"""The pure core, second half: windows, and the tiles that answer them. No I/O, no clock, no Kafka."""

from headrace.windows.layout import Accumulator, Family, FeaturePlace, ViewLayout
from headrace.windows.tiles import (
    NEVER,
    Events,
    Tiles,
    accumulated,
    merge_tiles,
    prune_tiles,
    tile_batch,
    tile_events,
)
from headrace.windows.update import update_tiles
from headrace.windows.values import value_at, values_at
from headrace.windows.window import Window, tile_of

__all__ = [
    "NEVER",
    "Accumulator",
    "Events",
    "Family",
    "FeaturePlace",
    "Tiles",
    "ViewLayout",
    "Window",
    "accumulated",
    "merge_tiles",
    "prune_tiles",
    "tile_batch",
    "tile_events",
    "tile_of",
    "update_tiles",
    "value_at",
    "values_at",
]
