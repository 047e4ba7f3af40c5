"""Checking parameters of functions that must be whole numbers."""

from __future__ import annotations

__all__ = ["whole_numbers"]


def whole_numbers(
    name: str, given: tuple[int | float, ...], named: tuple[str, ...], defaults: tuple[int | None, ...]
) -> tuple[int, ...]:
    """Parameters that are whole numbers of at least 1, defaults filled in.

    >>> whole_numbers("top_k", (3,), ("k", "bound"), (None, 1000))
    (3, 1000)

    Raises:
        ValueError: There are too many or too few, or one is not a whole number of at least 1.
    """
    required = sum(default is None for default in defaults)
    if not required <= len(given) <= len(named):
        msg = f"{name} takes {', '.join(named)}: write '{name}({', '.join(str(default or 5) for default in defaults)})'"
        raise ValueError(msg)
    found = (*given, *defaults[len(given) :])
    for label, value in zip(named, found, strict=True):
        if not isinstance(value, int) or value < 1:
            msg = f"{name}: {label} is {value}; it must be a whole number of at least 1"
            raise ValueError(msg)
    return tuple(int(value) for value in found if value is not None)
