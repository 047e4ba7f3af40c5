"""Windows, and the tiles that answer them. They do no I/O, read no clock and know nothing of Kafka."""

from headrace.windows.tile_layout import Accumulator, Family, FeaturePlace, ViewLayout
from headrace.windows.tile_update import update_tiles
from headrace.windows.tiles import (
    NEVER,
    Events,
    Tiles,
    accumulated,
    prune_tiles,
    tile_batch,
)
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
    "prune_tiles",
    "tile_batch",
    "tile_of",
    "update_tiles",
]
