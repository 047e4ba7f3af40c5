"""On-demand views: features that a function computes from a request's fields and from other features."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from headrace.plan.content_hash import Hashed
from headrace.plan.feature import FeatureRef
from headrace.plan.types import Column, DType

__all__ = ["OnDemandInput", "OnDemandView"]


class OnDemandInput(Hashed):
    """A feature of another view that an on-demand view reads.

    Attributes:
        ref: The feature, of a stream view or a batch view.
        dtype: The type that it had when the view was applied.
    """

    ref: FeatureRef
    dtype: DType


class OnDemandView(Hashed):
    """Features computed at each lookup and at each row of a training set, by the same function.

    Attributes:
        name: The view's name.
        inputs: The features that the function reads.
        request: The fields of the request that it reads, by name in the request's rows.
        features: What it computes.
        mode: What the function takes and returns: `python`, a dict of lists; `pandas`, a data frame.
        singleton: Whether the function takes one row: a dict of values. Only in `python` mode.
        function: ``module:name`` of the function, the module relative to the feature repo.
        code: A hash of its source, and of everything in the feature repo that it uses.
        on_error: What a row gets on which the function fails: `error` fails the request, `null` makes the row's
            features null and gives the reason.
    """

    name: str
    inputs: tuple[OnDemandInput, ...]
    request: tuple[Column, ...]
    features: tuple[Column, ...]
    mode: Literal["python", "pandas"]
    singleton: bool = False
    function: str
    code: str
    on_error: Literal["error", "null"] = "error"

    @cached_property
    def hash(self) -> str:
        """The content hash."""
        return self.content_hash()

    @property
    def source_views(self) -> tuple[str, ...]:
        """The views whose features it reads, each once."""
        return tuple(dict.fromkeys(one.ref.view for one in self.inputs))

    def feature(self, name: str) -> Column:
        """The feature called ``name``; KeyError where there is none."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)
