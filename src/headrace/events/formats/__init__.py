"""Formats of records: from the bytes of a record to the fields of an event."""
