"""Batch views: their sources, the point-in-time join of them, and materializing them into the row store."""
