"""Commands to a Redis server in batches: the next batch is sent before the answers to the one before are read.

redis-py connects and detects a server that is gone. Its loop over commands takes longer than the server does, so
commands are packed here, and all answers that have arrived are taken from hiredis at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from hiredis import PushNotification
from redis._parsers.hiredis import NOT_ENOUGH_DATA

__all__ = ["conversation"]


def conversation(pool: Any, batches: Iterable[tuple[bytes, int]], ahead: int = 1) -> Iterator[list[Any]]:
    """Send batches of commands and give the answers to each.

    Args:
        pool: redis-py's pool of connections.
        batches: Packed commands, and how many answers each batch has. A batch is made when it is about to be sent.
        ahead: How many batches are sent before the answers to one are read.

    Yields:
        The answers to each batch, in order.

    Raises:
        RedisError: What redis-py raises; the first answer that is an error, once those to its batch have all come.
    """
    connection = pool.get_connection()
    try:
        owed: deque[int] = deque()
        had: list[Any] = []
        is_first = True
        for sent, answers in batches:
            # Later, a health check could read answers that belong to other commands.
            connection.send_packed_command([sent], check_health=is_first)
            is_first = False
            owed.append(answers)
            if len(owed) > ahead:
                found, had = _answers(connection, owed.popleft(), had)
                yield found
        while owed:
            found, had = _answers(connection, owed.popleft(), had)
            yield found
    except BaseException:
        connection.disconnect()  # the next command could read answers that are still on their way
        raise
    finally:
        pool.release(connection)


def _answers(connection: Any, count: int, had: list[Any]) -> tuple[list[Any], list[Any]]:
    """`count` answers, those in `had` included, and the answers that have arrived after them."""
    found = had
    while len(found) < count:
        found.append(connection.read_response())  # waits, and raises an error of the connection
        if len(found) < count:
            # More may have arrived with it: that has only to be parsed.
            come = list(iter(connection._parser._reader.gets, NOT_ENOUGH_DATA))  # noqa: SLF001
            if PushNotification in set(map(type, come)):
                come = [one for one in come if type(one) is not PushNotification]  # no command here asks for them
            found += come
    answers, beyond = found[:count], found[count:]
    for one in [
        answers,
        *(one for one in answers[-1:] if isinstance(one, list)),
    ]:  # a transaction answers with a list
        if any(issubclass(kind, Exception) for kind in set(map(type, one))):
            raise next(answer for answer in one if isinstance(answer, Exception))
    return answers, beyond
