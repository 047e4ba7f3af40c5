"""The headers of records that librdkafka read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

if TYPE_CHECKING:
    from headrace.events.raw_records import Headers

__all__ = ["headers_of"]

logger = logging.getLogger(__name__)


def headers_of(messages: Sequence[Message]) -> list[Headers] | None:
    """The headers of records; None where no record has any.

    A producer can give a header a name that is not UTF-8, and that must not stop a reader: such a record reads as one
    without headers. confluent-kafka fails on it with an exception that it has not declared, and only the first time
    that it is asked. So each record is asked once.

    Args:
        messages: The records.
    """
    found: list[Headers] = []
    rest: Any = map(Message.headers, messages)
    while len(found) < len(messages):
        try:
            found.extend(rest)
        except (SystemError, UnicodeDecodeError) as error:
            if not isinstance(error.__cause__ or error, UnicodeDecodeError):
                raise
            _warn(messages[len(found)].topic() or "")
            found.append(())
    return [tuple(one) if one else () for one in found] if any(found) else None


@cache
def _warn(topic: str) -> None:
    """Say it once for each topic."""
    logger.warning(
        "Records of %s have headers whose names are not UTF-8. All headers of these records are left out.", topic
    )
