"""Records of tiles: their keys, their layout, reading them and applying batches to them."""
