"""The ledger of erasures: whose events may not come back, without saying who that is.

An entity stands in the ledger as an HMAC of its join keys under a random secret of the project, kept in a file beside
the ledger. Who has only the ledger, a receipt or a backup of them cannot tell the entity, nor try names out; the
worker, which has both, recognises its events.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from headrace.errors import ConfigError
from headrace.state import ABSENT, Note, State, StateConflictError

__all__ = ["LEDGER", "Entity", "Erasure", "Ledger"]

LEDGER = "ledger.json"
_SECRET = "secret"  # noqa: S105 the file's name
_SECRET_BYTES = 32

Entity = dict[str, Any]
"""Join keys and their values, as events have them: times in µs."""


@dataclass(frozen=True)
class Erasure:
    """One erased entity.

    Attributes:
        names: The names of its join keys, sorted.
        digest: The HMAC of its join keys.
        before_us: Events dated before it are dropped, by the project's clock.
        erased_us: When it was erased by the wall clock.
        through: By topic and partition, the offset through which events are dropped.
        identities: By topic, which topic of that name the offsets speak of.
        rows: By topic, how many events were erased from the log.
        is_finished: Whether all of it was done; an erasure that was cut short is finished by the next one of the
            entity.
    """

    names: tuple[str, ...]
    digest: str
    before_us: int
    erased_us: int
    through: dict[str, dict[int, int]] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    is_finished: bool = True

    @property
    def until_us(self) -> float:
        """Until when something may have been made of the erased events, by the wall clock in µs."""
        return self.erased_us if self.is_finished else math.inf


class Ledger:
    """The erasures of a project.

    Args:
        state: Where ledger and secret are kept (`Project.erasures`).
        secret: The secret; None where nothing was ever erased.
        erasures: By digest.
    """

    def __init__(self, state: State, secret: bytes | None, erasures: Mapping[str, Erasure]) -> None:
        self._state = state
        self._secret = secret
        self.erasures = dict(erasures)

    @classmethod
    def load(cls, state: State) -> Ledger:
        """Read the ledger; it is empty where nothing was ever erased.

        Args:
            state: Where it is kept.

        Raises:
            ConfigError: It cannot be read: a worker that went on could bring back what was erased.
        """
        erasures = _note(state).read()
        return cls(state, _read_secret(state) if state.file(LEDGER).exists() else None, erasures)

    def digest(self, entity: Mapping[str, Any]) -> str:
        """How an entity stands in the ledger.

        Args:
            entity: Its join keys and values.
        """
        names = tuple(sorted(entity))
        return self.digest_of(names, [entity[name] for name in names])

    def digest_of(self, names: tuple[str, ...], values: list[Any]) -> str:
        """The same, for names in sorted order and their values."""
        if self._secret is None:
            self._secret = _make_secret(self._state)
        text = json.dumps([names, values], separators=(",", ":"), ensure_ascii=True)
        return hmac.new(self._secret, text.encode("ascii"), hashlib.sha256).hexdigest()

    def begin(self, erasure: Erasure) -> None:
        """Add an erasure that is about to be done: as `add`, and known as cut short until it is finished.

        Args:
            erasure: The erasure, with how many events the log holds of it.

        Raises:
            ConfigError: The ledger cannot be read any more.
        """
        self.add(replace(erasure, is_finished=False))

    def finish(self, erasure: Erasure) -> None:
        """Say that an erasure which was begun is done.

        Args:
            erasure: The erasure, with how many events were erased.

        Raises:
            ConfigError: The ledger cannot be read any more.
        """
        self.add(replace(erasure, is_finished=True))

    def add(self, erasure: Erasure) -> None:
        """Add an erasure, or widen the one that is there; what others have added meanwhile stays.

        Args:
            erasure: The erasure.

        Raises:
            ConfigError: The ledger cannot be read any more.
        """

        def with_it(erasures: dict[str, Erasure]) -> dict[str, Erasure]:
            merged = {**self.erasures, **erasures}
            known = merged.get(erasure.digest)
            return {**merged, erasure.digest: erasure if known is None else _widened(known, erasure)}

        self.erasures = _note(self._state).update(with_it)


def _note(state: State) -> Note[dict[str, Erasure]]:
    def parse(document: Any) -> dict[str, Erasure]:
        return {one.digest: one for one in map(_erasure, document["erasures"])}

    def render(erasures: dict[str, Erasure]) -> dict[str, Any]:
        return {"format": 1, "erasures": [asdict(one) for one in erasures.values()]}

    def unreadable(error: Exception) -> ConfigError:
        return _unreadable(state, error)

    return Note(state.file(LEDGER), dict, parse, render, unreadable, unreadable)


def _unreadable(state: State, error: Exception) -> ConfigError:
    msg = f"The ledger of erasures {state.place(LEDGER)} cannot be read or written: {error}."
    hint = f"Restore {LEDGER} and {_SECRET} from a copy: without them, a replay would bring back what was erased."
    return ConfigError(msg, hint=hint)


def _read_secret(state: State) -> bytes:
    try:
        stored = state.read(_SECRET)
        secret = b"" if stored is None else bytes.fromhex(stored.data.decode("ascii").strip())
        if len(secret) != _SECRET_BYTES:
            msg = f"the secret has {len(secret)} bytes"
            raise ValueError(msg)
    except (OSError, ValueError) as error:
        raise _unreadable(state, error) from error
    return secret


def _make_secret(state: State) -> bytes:
    """The secret, made at the first erasure, readable by its owner alone."""
    made = secrets.token_bytes(_SECRET_BYTES).hex() + "\n"
    with suppress(StateConflictError):  # another process has just made it
        try:
            state.write(_SECRET, made.encode("ascii"), expected=ABSENT, is_secret=True)
        except OSError as error:
            raise _unreadable(state, error) from error
    return _read_secret(state)


def _erasure(entry: dict[str, Any]) -> Erasure:
    through = {topic: {int(p): int(offset) for p, offset in ends.items()} for topic, ends in entry["through"].items()}
    return Erasure(**{**entry, "names": tuple(entry["names"]), "through": through})


def _widened(known: Erasure, more: Erasure) -> Erasure:
    """An entity that is erased a second time: offsets of a topic that was created again replace the old ones."""
    through = dict(known.through)
    for topic, ends in more.through.items():
        same = known.identities.get(topic) == more.identities.get(topic)
        before = known.through.get(topic, {}) if same else {}
        through[topic] = {**before, **{p: max(end, before.get(p, -1)) for p, end in ends.items()}}
    # One that was begun has said before how many events it is about to erase.
    rows = {
        topic: known.rows.get(topic, 0) + more.rows.get(topic, 0)
        if known.is_finished
        else max(known.rows.get(topic, 0), more.rows.get(topic, 0))
        for topic in {*known.rows, *more.rows}
    }
    return Erasure(
        known.names,
        known.digest,
        max(known.before_us, more.before_us),
        max(known.erased_us, more.erased_us),
        through,
        {**known.identities, **more.identities},
        rows,
        more.is_finished,
    )
