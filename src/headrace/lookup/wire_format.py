"""What both forms of an answer on the wire share: the number of their format, and how other data is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headrace.errors import ServerError
from headrace.lookup.request import EntityRows
from headrace.lookup.response import FeatureValues, OnlineFeatures
from headrace.lookup.wire_values import shortened

__all__ = ["ARROW_TYPE", "FORMAT", "JSON_TYPE", "NO_SERVER", "check_format", "entity_rows_of", "reading", "values_of"]

FORMAT = 1
"""The format of answers. A client refuses another; new keys do not change it."""

JSON_TYPE = "application/json"
ARROW_TYPE = "application/vnd.apache.arrow.stream"
"""The media types of answers."""

NO_SERVER = "Check the URL: it must be the address of `headrace serve`."
_SAME_VERSION = "Install the same version of headrace in the client and in the server."


def check_format(data: Any) -> None:
    """Refuse what is no answer of a headrace server, or has another format.

    Args:
        data: The JSON.

    Raises:
        ServerError: It is no answer, or has another format.
    """
    found = data.get("format") if isinstance(data, dict) else None
    if found == FORMAT:
        return
    if isinstance(found, int):
        msg = f"The answer has the format {found}; this headrace reads the format {FORMAT}."
        raise ServerError(msg, hint=_SAME_VERSION)
    msg = f"This is no answer of a headrace server: {shortened(data)}"
    raise ServerError(msg, hint=NO_SERVER)


@contextmanager
def reading() -> Iterator[None]:
    """Around reading an answer: what it lacks, or has of another type, is a `ServerError`."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        msg = f"The answer cannot be read ({type(error).__name__}: {error})."
        raise ServerError(msg, hint=_SAME_VERSION) from error


def entity_rows_of(answer: OnlineFeatures) -> EntityRows:
    """The rows of an answer's request."""
    rows = answer.entity_rows
    return rows if isinstance(rows, EntityRows) else EntityRows(rows=rows)


def values_of(answer: OnlineFeatures) -> FeatureValues:
    """The values of an answer as they were computed."""
    values = answer.values
    return values if isinstance(values, FeatureValues) else FeatureValues.of(values, answer.dtypes)
