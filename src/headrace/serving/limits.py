"""What one request may ask for, and how much work waits at most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from headrace.errors import ConfigError
from headrace.serving.errors import RefusedError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The limits of a server process.

    Attributes:
        body_bytes: The size of a request's body. A larger one is answered with 413.
        rows: The rows of one lookup. More are answered with 422.
        features: The features of one lookup, and the names that it asks for. More are answered with 422.
        cells: Rows times features of one lookup. More are answered with 422.
        inline_rows: Up to this many rows of a local store are looked up in the event loop; more go to a thread.
        seconds: How long a request may take, from its last byte on. After that the answer is 503. A write that runs is
            waited for.
        waiting: How many requests work or wait in one process. Further ones are answered with 503.
        threads: How many lookups in a store on a server, or large ones, run at the same time in one process.
        connections: How many connections one process keeps open. Further ones are answered with 503.
        receive_seconds: How long a client may take to send a request. After that the answer is 408.
        send_seconds: How long a client may read nothing of an answer that waits for it. Then the connection is closed.
        idle_seconds: How long a connection without a request stays open.
        drain_seconds: How long a process that was asked to end waits for its requests.
    """

    body_bytes: int = 10_000_000
    rows: int = 10_000
    features: int = 1_000
    cells: int = 500_000
    inline_rows: int = 200
    seconds: float = 10.0
    waiting: int = 100
    threads: int = 8
    connections: int = 1_000
    receive_seconds: float = 20.0
    send_seconds: float = 30.0
    idle_seconds: float = 75.0
    drain_seconds: float = 20.0

    def check(self, rows: int, features: int) -> None:
        """Refuse a lookup that is too large.

        Args:
            rows: How many rows it has.
            features: How many features it asks for.

        Raises:
            RefusedError: It asks for more than these limits allow.
        """
        for what, found, limit in (
            ("rows", rows, self.rows),
            ("features", features, self.features),
            ("values (rows times features)", rows * features, self.cells),
        ):
            if found > limit:
                msg = f"The request asks for {found:,} {what}; this server answers at most {limit:,}."
                raise RefusedError(422, "LookupRequestError", msg, hint="Ask in several requests.")

    def with_changes(self, changes: Iterable[str]) -> Limits:
        """These limits with some changed.

        Args:
            changes: `NAME=VALUE` each, with the name of an attribute (`-` may be written for `_`).

        Returns:
            The changed limits.

        Raises:
            ConfigError: There is no such limit, or the value is no positive number.
        """
        kinds: dict[str, type[int] | type[float]] = {
            field.name: int if isinstance(getattr(self, field.name), int) else float for field in fields(self)
        }
        changed: dict[str, int | float] = {}
        for change in changes:
            written, _, value = change.partition("=")
            name = written.strip().replace("-", "_")
            if name not in kinds:
                msg = f"There is no limit named {written!r}."
                raise ConfigError(msg, hint=f"Limits are: {', '.join(kinds)}. Write NAME=VALUE.")
            try:
                changed[name] = kinds[name](value.replace("_", ""))
            except ValueError:
                changed[name] = 0
            if not 0 < changed[name] < float("inf"):
                whole = "whole " if kinds[name] is int else ""
                msg = f"The limit {name} is {value!r}."
                raise ConfigError(msg, hint=f"It is a {whole}number above 0, such as {name}={getattr(self, name)}.")
        return replace(self, **changed)  # type: ignore[arg-type]
