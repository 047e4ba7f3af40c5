"""The model that a source was made with, kept on the source itself.

A source's tag names its model as ``module:Class``. `apply` and the workers use only the tag. A test or a notebook may
define a model that cannot be imported, or several with one name. Code that runs in this process finds it here, for as
long as the source lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feast import KafkaSource
    from pydantic import BaseModel

__all__ = ["model_reference", "note_model", "noted_model"]

_NOTE = "headrace_model"


def model_reference(model: type[BaseModel]) -> str:
    """A model as ``module:Class``."""
    return f"{model.__module__}:{model.__qualname__}"


def note_model(source: KafkaSource, model: type[BaseModel]) -> None:
    """Note which model a source was made with.

    Args:
        source: The source.
        model: The model.
    """
    setattr(source, _NOTE, model)


def noted_model(source: KafkaSource) -> type[BaseModel] | None:
    """The model that a source was made with; None for a source that comes from Feast's registry or was written by hand.

    Args:
        source: The source.
    """
    model: type[BaseModel] | None = getattr(source, _NOTE, None)
    return model
