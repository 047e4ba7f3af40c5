"""Importing history: events in Parquet, CSV or a database become events of the log, like streamed ones."""

from headrace.extras import needing

with needing("offline"):
    from headrace.ingest.importer import Imported, import_history
    from headrace.ingest.input_reader import Origin
from headrace.ingest.undo import Undone, find_import, undo_import

__all__ = ["Imported", "Origin", "Undone", "find_import", "import_history", "undo_import"]
