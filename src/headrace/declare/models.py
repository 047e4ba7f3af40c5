"""The models that sources were made with in this process.

A source's tag names its model as ``module:Class``, which is all that `apply` and the workers go by. A test, a notebook or a code block may
define a model where no import finds it; what needs no more than the columns, or runs in this process alone, finds it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["note_model", "noted_model"]

_NOTED: WeakValueDictionary[str, type[BaseModel]] = WeakValueDictionary()


def note_model(model: type[BaseModel]) -> str:
    """Remember a model, as long as someone holds it.

    Args:
        model: The model.

    Returns:
        ``module:Class``.
    """
    ref = f"{model.__module__}:{model.__qualname__}"
    _NOTED[ref] = model
    return ref


def noted_model(ref: str) -> type[BaseModel] | None:
    """The model that a source was last made with under a reference; None where there was none.

    Args:
        ref: ``module:Class``.
    """
    return _NOTED.get(ref)
