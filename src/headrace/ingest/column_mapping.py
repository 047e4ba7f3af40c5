"""Which column of what is imported each field of the model comes from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from headrace.errors import IngestError
from headrace.events.json_names import json_names
from headrace.ingest.input_reader import opening
from headrace.plan import DType, Source

__all__ = ["KNOWN_AT", "Field", "Fields", "Unmatched"]

KNOWN_AT = "known_at"
"""What the column of `known_at` is read as; fields are read as `0`, `1` …, so that no field has this name."""


@dataclass(frozen=True)
class Field:
    """A field of the model.

    Attributes:
        name: Its name.
        key: What it is called in JSON.
        required: Whether an event cannot be without it.
        nullable: Whether it may be null.
        dtype: The type of its column.
    """

    name: str
    key: str
    required: bool
    nullable: bool
    dtype: DType


@dataclass(frozen=True)
class Unmatched:
    """What of a part found no partner.

    Attributes:
        part: The part's name.
        columns: Its columns that no field comes from.
        fields: The fields that come from no column: they get the model's defaults.
        hints: What `--map` to write, where a field and a column look as if they were meant for each other.
    """

    part: str
    columns: tuple[str, ...]
    fields: tuple[str, ...]
    hints: tuple[str, ...]

    def __str__(self) -> str:
        said = []
        if self.fields:
            said.append(f"no column for {_listed(self.fields)} (left out: the model's default in every row)")
        if self.columns:
            columns = "the column" if len(self.columns) == 1 else "the columns"
            said.append(f"no field for {columns} {_listed(self.columns)} (ignored)")
        hint = f". Did you mean {' '.join(self.hints)}?" if self.hints else "."
        return f"{self.part}: {', and '.join(said)}{hint}"


class Fields:
    """The fields of a source's model, and the columns that they come from.

    Args:
        source: The source.
        model: Its model.
        mapped: By field, the column it comes from where that is not its own name.
        known_at: The column of `known_at`; None where events are known at their event time.

    Raises:
        IngestError: A field is mapped that the model does not have.
    """

    def __init__(self, source: Source, model: type[BaseModel], mapped: Mapping[str, str], known_at: str | None) -> None:
        keys = json_names(model)
        self.all = [
            Field(
                column.name,
                keys[column.name],
                model.model_fields[column.name].is_required(),
                column.nullable,
                column.dtype,
            )
            for column in source.columns
        ]
        self.unmatched: list[Unmatched] = []
        names = [field.name for field in self.all]
        for name in mapped:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                msg = f"--map {name}={mapped[name]}: {source.model} has no field {name!r}."
                raise IngestError(msg, hint=f"{hint}It has: {', '.join(names)}.")
        self._source = source
        self._mapped = mapped
        self._known_at = known_at

    def choose(self, part: str, columns: Sequence[str]) -> dict[str, str]:
        """The columns to read of a part, by the number of the field that each is for (and `KNOWN_AT`).

        What finds no partner is added to `unmatched`.

        Args:
            part: The part's name.
            columns: Its columns.

        Raises:
            IngestError: A column that is needed is not there.
        """
        wanted: dict[str, str] = {}
        missing: list[Field] = []
        for number, field in enumerate(self.all):
            column = self._column(part, field, columns)
            if column is not None:
                wanted[str(number)] = column
            else:
                missing.append(field)
        if self._known_at is not None:
            wanted[KNOWN_AT] = self._found(part, self._known_at, columns, "--known-at")
        unused = [column for column in columns if column not in wanted.values()]
        hints = [hint for field in missing if (hint := self._hint(field, unused)) is not None]
        needed = next((field for field in missing if field.required), None)
        if needed is not None:
            msg = f"{opening(part)} has no column {needed.name!r}, which {self._source.model} needs."
            meant = f"Did you mean {' '.join(hints)}?" if hints else f"Say which it is: --map {needed.name}=COLUMN."
            raise IngestError(msg, hint=f"{meant} There are: {', '.join(columns)}.")
        if missing or unused:
            said = Unmatched(part, tuple(unused), tuple(field.name for field in missing), tuple(hints))
            if not any((said.columns, said.fields) == (one.columns, one.fields) for one in self.unmatched):
                self.unmatched.append(said)
        return wanted

    def _column(self, part: str, field: Field, columns: Sequence[str]) -> str | None:
        if field.name in self._mapped:
            return self._found(part, self._mapped[field.name], columns, f"--map {field.name}=…")
        return next((name for name in (field.name, field.key) if name in columns), None)

    def _hint(self, field: Field, unused: Sequence[str]) -> str | None:
        """The `--map` to write for a field that an unused column resembles: by case, spaces, a prefix or a typo."""
        plain = {column: _plain(column) for column in unused}
        for wanted in dict.fromkeys((_plain(field.name), _plain(field.key))):
            same = [column for column, name in plain.items() if name == wanted]
            longer = [column for column, name in plain.items() if len(wanted) > 1 and name.endswith(wanted)]
            near = difflib.get_close_matches(wanted, list(plain.values()), n=1, cutoff=0.75)
            close = [column for column, name in plain.items() if near and name == near[0]]
            for found in (same, longer, close):
                if found:
                    pair = f"{field.name}={found[0]}"
                    return f"--map {pair}" if re.fullmatch(r"[\w=.-]+", pair) else f"--map '{pair}'"
        return None

    def _found(self, part: str, column: str, columns: Sequence[str], option: str) -> str:
        if column in columns:
            return column
        msg = f"{opening(part)} has no column {column!r}, which {option} names."
        raise IngestError(msg, hint=f"There are: {', '.join(columns)}.")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) if not re.fullmatch(r"[\w.]+", name) else name for name in names)
