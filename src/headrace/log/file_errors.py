"""What is said of a file of the log that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from headrace.errors import LogError

__all__ = ["reading"]


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Name the file if reading it fails.

    Args:
        path: The file.

    Yields:
        Nothing.

    Raises:
        LogError: The file is missing or does not read.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        hint = "Restore the log's folder from a copy, or move it away and replay the topic."
        msg = f"The log's file {path} does not read: {str(error).splitlines()[0]}"
        raise LogError(msg, hint=hint) from error
