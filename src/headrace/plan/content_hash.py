"""Content hashes: two plans, or two views, are the same where their hashes are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["Hashed"]


class Hashed(BaseModel):
    """A frozen model with a content hash.

    A field that was added to a class later stands in `added_later`. At its default it is left out of the hash. So plans
    and stores that were written before keep their hashes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    added_later: ClassVar[frozenset[str]] = frozenset()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed; what was computed from fields, such as its hash, is computed again."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(copied).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def content_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(_hashed(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hashed(value: Any) -> Any:
    """What of a value goes into the hash, as JSON."""
    if isinstance(value, Hashed):
        fields = type(value).model_fields
        return {
            name: _hashed(one)
            for name, one in ((name, getattr(value, name)) for name in fields)
            if name not in value.added_later or one != fields[name].default
        }
    if isinstance(value, dict):
        return {name: _hashed(one) for name, one in value.items()}
    return [_hashed(one) for one in value] if isinstance(value, tuple) else value
