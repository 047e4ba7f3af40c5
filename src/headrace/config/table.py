"""What all tables of headrace.toml have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Table"]


class Table(BaseModel):
    """A table of settings: no setting it does not know, and no value in an error message."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
