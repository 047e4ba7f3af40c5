"""The names of the facts a store keeps about itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

__all__ = [
    "CLOCK",
    "FAILURES",
    "FILLED",
    "GENERATION",
    "UNKNOWN_LOG",
    "building_fact",
    "built_fact",
    "built_prefix",
    "definition_fact",
    "definitions",
    "history_fact",
    "log_fact",
    "made_from",
    "new_generation",
    "previous_fact",
    "refused_fact",
    "since_fact",
    "topic_fact",
    "upto_fact",
    "upto_prefix",
    "view_fact",
    "view_facts",
]

CLOCK = "clock"
"""The clock the store was filled under."""

GENERATION = "generation"
"""Another value whenever another version of some view is served: who looks up notices by it."""

FILLED = "filled"
"""Since when the store has been filled, in µs by the wall clock: it was empty then."""

FAILURES = "transform_failures"
"""JSON: what the transforms of the worker that wrote last have failed on (`headrace.transforms.failures_summary`)."""

UNKNOWN_LOG = "unknown"
"""Stands among the logs that records were made from where one is not known."""

_VIEW = "view:"
_DEFINITION = "definition:"
_LOG = "log:"


def view_fact(name: str) -> str:
    """Under which name the hash of a view that the store serves is kept."""
    return f"{_VIEW}{name}"


def view_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """The hashes of the views that the store serves, by view."""
    return {name.removeprefix(_VIEW): value for name, value in facts.items() if name.startswith(_VIEW)}


def previous_fact(name: str) -> str:
    """Under which name the hash is kept that a view was served under before."""
    return f"previous:{name}"


def building_fact(name: str) -> str:
    """Under which name the hash is kept that a view is to be served under once its records have caught up."""
    return f"building:{name}"


def refused_fact(view_hash: str) -> str:
    """Under which name it is kept why a worker cannot build a version that was asked for."""
    return f"refused:{view_hash}"


def definition_fact(view_hash: str) -> str:
    """Under which name the definition of a version is kept, as JSON."""
    return f"{_DEFINITION}{view_hash}"


def definitions(facts: Iterable[str]) -> list[str]:
    """The hashes of the versions whose definition is kept."""
    return [name.removeprefix(_DEFINITION) for name in facts if name.startswith(_DEFINITION)]


def since_fact(view_hash: str) -> str:
    """Under which name the time is kept at which a version first went live, in µs; what the store served from its beginning has none."""
    return f"since:{view_hash}"


def upto_fact(view_hash: str, partition: int) -> str:
    """Under which name the offset is kept through which a version that is not served holds a source partition."""
    return f"{upto_prefix(view_hash)}{partition}"


def upto_prefix(view_hash: str) -> str:
    """What the names of a version's `upto_fact` begin with."""
    return f"upto:{view_hash}:"


def built_fact(view_hash: str, partition: int) -> str:
    """Under which name it is noted that a version has caught up with a source partition, and gets each of its rounds."""
    return f"{built_prefix(view_hash)}{partition}"


def built_prefix(view_hash: str) -> str:
    """What the names of a version's `built_fact` begin with."""
    return f"built:{view_hash}:"


def new_generation() -> str:
    """A value that `GENERATION` has not had."""
    return str(time.time_ns())


def topic_fact(topic: str) -> str:
    """Under which name it is kept which topic the store's source partitions and offsets are of (`TopicHistory.lineage`)."""
    return f"topic:{topic}"


def history_fact(topic: str) -> str:
    """Under which name a copy of what is noted of a topic with the log is kept, as JSON (`TopicHistory`)."""
    return f"history:{topic}"


def log_fact(topic: str) -> str:
    """Under which name the ids of the logs are kept, separated by commas, that a topic's records were made from."""
    return f"{_LOG}{topic}"


def made_from(facts: Mapping[str, str]) -> dict[str, str]:
    """What the store's records were made from, and since when: the facts that an audit must know of what was served."""
    return {name: value for name, value in facts.items() if name == FILLED or name.startswith(_LOG)}
