"""The events of the stream benchmarks."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["Payment"]


class Payment(BaseModel):
    """A user paid a merchant.

    Attributes:
        event_id: Its id.
        user_id: Who paid.
        amount: How much.
        merchant: Whom.
        ts: When; in JSON, milliseconds since 1970.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Annotated[str, Field(min_length=1)]
    user_id: Annotated[str, Field(min_length=1)]
    amount: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    merchant: Annotated[str, Field(min_length=1)]
    ts: AwareDatetime
