"""Datasets pin versions of logs: their manifests say which, and a vacuum keeps those.

Manifests are looked for below some folders, and where `note_pin` has noted that one is being written: a dataset may be
exported anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.state import State

__all__ = ["MANIFEST", "drop_pin", "forget_pins", "manifests_below", "missing_pins", "note_pin", "pinned_versions"]

MANIFEST = "manifest.json"
_NOT_LOOKED_INTO = {"node_modules", "__pycache__", "_delta_log"}
_BUILDING_S = 7 * 86_400.0
"""How long a pin counts whose dataset was begun and never finished: its builder may still run, or was killed."""


def note_pin(
    pins: State,
    manifest: Path,
    logs: Mapping[str, int | None],
    tables: Mapping[str, str | None],
    *,
    is_built: bool = False,
) -> None:
    """Note that a dataset is about to be built, or has been.

    Args:
        pins: The pins of a project (`Project.pins`).
        manifest: Where its manifest will be.
        logs: By topic, the version of its log that is read.
        tables: By topic, the id of its log's table.
        is_built: Whether the manifest is there; from then on the pin counts as long as it is.

    Raises:
        OSError: It cannot be noted.
    """
    noted = {
        "manifest": str(manifest.resolve()),
        "logs": dict(logs),
        "tables": dict(tables),
        "is_built": is_built,
        "noted_at_s": time.time(),
    }
    pins.write(_name(manifest), (json.dumps(noted) + "\n").encode())


def drop_pin(pins: State, manifest: Path) -> None:
    """Take back what was noted: the dataset was not built.

    Args:
        pins: The pins of a project.
        manifest: Where its manifest would have been.
    """
    if not manifest.is_file():  # an earlier build of it may be there
        pins.delete(_name(manifest))


def pinned_versions(pins: State, folders: Iterable[Path], topic: str, table_id: str | None) -> dict[int, list[str]]:
    """The versions of a log that datasets pin.

    Args:
        pins: The pins of a project.
        folders: Where to look for manifests, besides those noted.
        topic: The log's topic.
        table_id: The id of its table; what pins another table's versions does not count.

    Returns:
        By version, the paths of the manifests.
    """
    manifests = {str(path.resolve()) for folder in folders for path in manifests_below(folder)}
    found: dict[str, Mapping[str, Any]] = {}
    for noted in _all(pins).values():
        manifest = noted["manifest"]
        if Path(manifest).is_file():
            manifests.add(manifest)
        if not noted.get("is_built") and noted.get("noted_at_s", time.time()) > time.time() - _BUILDING_S:
            found[f"{manifest} (being built)"] = noted
    found |= {manifest: _read(Path(manifest)) for manifest in manifests}
    return _by_version(found.items(), topic, table_id)


def missing_pins(pins: State, topic: str, table_id: str | None) -> dict[int, list[str]]:
    """The versions of a log that datasets pinned whose manifests are not where they were written: removed, or moved.

    Args:
        pins: The pins of a project.
        topic: The log's topic.
        table_id: The id of its table.

    Returns:
        By version, the paths where the manifests were.
    """
    return _by_version([(noted["manifest"], noted) for _, noted in _without_manifest(pins)], topic, table_id)


def forget_pins(pins: State, manifests: Iterable[str]) -> None:
    """Forget that datasets were built whose manifests are no longer there.

    Args:
        pins: The pins of a project.
        manifests: Where their manifests were.
    """
    given_up = set(manifests)
    for name, noted in list(_without_manifest(pins)):
        if noted["manifest"] in given_up:
            pins.delete(name)


def manifests_below(folder: Path) -> Iterator[Path]:
    """The manifests of datasets below a folder, without hidden folders in it; the folder itself may be hidden."""
    for where, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".") and name not in _NOT_LOOKED_INTO]
        path = Path(where) / MANIFEST
        if MANIFEST in files and {"dataset", "files"} <= set(_read(path)):
            yield path


def _all(pins: State) -> dict[str, dict[str, Any]]:
    """By its name, each pin that says where the manifest is."""
    found = {}
    for name in pins.names():
        stored = pins.read(name)
        noted = _json(b"" if stored is None else stored.data)
        if isinstance(noted.get("manifest"), str):
            found[name] = noted
    return found


def _without_manifest(pins: State) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, noted in _all(pins).items():
        if noted.get("is_built") and not Path(noted["manifest"]).is_file():
            yield name, noted


def _by_version(
    pinning: Iterable[tuple[str, Mapping[str, Any]]], topic: str, table_id: str | None
) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for place, pin in sorted(pinning, key=lambda one: one[0]):
        version = _of_topic(pin, "logs", topic)
        if isinstance(version, int) and _of_topic(pin, "tables", topic) == table_id:
            found.setdefault(version, []).append(place)
    return found


def _of_topic(pinning: Mapping[str, Any], name: str, topic: str) -> object:
    by_topic = pinning.get(name)
    return by_topic.get(topic) if isinstance(by_topic, dict) else None


def _name(manifest: Path) -> str:
    return f"{hashlib.sha256(str(manifest.resolve()).encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return _json(path.read_bytes())
    except OSError:
        return {}


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
