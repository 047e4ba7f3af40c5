"""Which column of what is imported each field of the model comes from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from headrace.errors import IngestError
from headrace.events.names import json_names
from headrace.ingest.reader import opening
from headrace.plan import Source

__all__ = ["KNOWN_AT", "Field", "Fields"]

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
    """

    name: str
    key: str
    required: bool
    nullable: bool


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
            Field(column.name, keys[column.name], model.model_fields[column.name].is_required(), column.nullable)
            for column in source.columns
        ]
        names = [field.name for field in self.all]
        for name in mapped:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                msg = f"--map {name}={mapped[name]}: {source.model} has no field {name!r}."
                raise IngestError(msg, cure=f"{hint}It has: {', '.join(names)}.")
        self._source = source
        self._mapped = mapped
        self._known_at = known_at

    def choose(self, part: str, columns: Sequence[str]) -> dict[str, str]:
        """The columns to read of a part, by the number of the field that each is for (and `KNOWN_AT`).

        Args:
            part: The part's name.
            columns: Its columns.

        Raises:
            IngestError: A column that is needed is not there.
        """
        wanted: dict[str, str] = {}
        for number, field in enumerate(self.all):
            column = self._column(part, field, columns)
            if column is not None:
                wanted[str(number)] = column
        if self._known_at is not None:
            wanted[KNOWN_AT] = self._found(part, self._known_at, columns, "--known-at")
        return wanted

    def _column(self, part: str, field: Field, columns: Sequence[str]) -> str | None:
        if field.name in self._mapped:
            return self._found(part, self._mapped[field.name], columns, f"--map {field.name}=…")
        for name in (field.name, field.key):
            if name in columns:
                return name
        if field.required:
            msg = f"{opening(part)} has no column {field.name!r}, which {self._source.model} needs."
            cure = f"Say which it is: --map {field.name}=COLUMN. There are: {', '.join(columns)}."
            raise IngestError(msg, cure=cure)
        return None

    def _found(self, part: str, column: str, columns: Sequence[str], option: str) -> str:
        if column in columns:
            return column
        msg = f"{opening(part)} has no column {column!r}, which {option} names."
        raise IngestError(msg, cure=f"There are: {', '.join(columns)}.")
