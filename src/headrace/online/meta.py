"""The names of the facts a store keeps about itself."""

from __future__ import annotations

__all__ = ["CLOCK", "topic_fact", "view_fact", "view_facts"]

CLOCK = "clock"
"""The clock the store was filled under."""

_VIEW = "view:"


def view_fact(name: str) -> str:
    """Under which name the hash of a view that the store serves is kept."""
    return f"{_VIEW}{name}"


def view_facts(facts: dict[str, str]) -> dict[str, str]:
    """The hashes of the views that the store serves, by view."""
    return {name.removeprefix(_VIEW): value for name, value in facts.items() if name.startswith(_VIEW)}


def topic_fact(topic: str) -> str:
    """Under which name the identity of a topic that the store was built from is kept."""
    return f"topic:{topic}"
