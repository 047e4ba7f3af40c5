"""Datasets pin versions of logs: their manifests say which, and a vacuum keeps those.

Manifests are looked for below some folders, and where `note_pin` has noted that one is being written: a dataset may be exported anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["MANIFEST", "drop_pin", "forget_pins", "manifests_below", "missing_pins", "note_pin", "pinned_versions"]

MANIFEST = "manifest.json"
_NOT_LOOKED_INTO = {"node_modules", "__pycache__", "_delta_log"}
_FOLDER = "pins"
_BUILDING_S = 7 * 86_400.0
"""For so long a pin counts whose dataset was begun and never ended: its builder may still be at it, or was killed."""


def note_pin(
    state: Path,
    manifest: Path,
    logs: Mapping[str, int | None],
    tables: Mapping[str, str | None],
    *,
    is_built: bool = False,
) -> None:
    """Note that a dataset is about to be built, or has been.

    Args:
        state: The project's state folder.
        manifest: Where its manifest will be.
        logs: By topic, the version of its log that is read.
        tables: By topic, the id of its log's table.
        is_built: Whether the manifest is there; from then on the pin counts as long as it is.

    Raises:
        OSError: It cannot be noted.
    """
    path = _pin(state, manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    noted = {"manifest": str(manifest.resolve()), "logs": dict(logs), "tables": dict(tables), "is_built": is_built}
    path.write_text(json.dumps(noted) + "\n", encoding="utf-8")


def drop_pin(state: Path, manifest: Path) -> None:
    """Take back what was noted: the dataset was not built.

    Args:
        state: The project's state folder.
        manifest: Where its manifest would have been.
    """
    if not manifest.is_file():  # an earlier build of it may be there
        _pin(state, manifest).unlink(missing_ok=True)


def pinned_versions(state: Path, folders: Iterable[Path], topic: str, table_id: str | None) -> dict[int, list[str]]:
    """The versions of a log that datasets pin.

    Args:
        state: The project's state folder.
        folders: Where to look for manifests, besides those noted.
        topic: The log's topic.
        table_id: The id of its table; what pins another one's versions does not count.

    Returns:
        By version, the paths of the manifests.
    """
    places = {path.resolve() for folder in folders for path in manifests_below(folder)}
    found: dict[int, list[str]] = {}
    for place, pinning in sorted({**_noted(state), **{str(path): _read(path) for path in places}}.items()):
        version = _of_topic(pinning, "logs", topic)
        if isinstance(version, int) and _of_topic(pinning, "tables", topic) == table_id:
            found.setdefault(version, []).append(place)
    return found


def missing_pins(state: Path, topic: str, table_id: str | None) -> dict[int, list[str]]:
    """The versions of a log that datasets pinned whose manifests are not where they were written: removed, or moved to where nobody knows.

    Args:
        state: The project's state folder.
        topic: The log's topic.
        table_id: The id of its table.

    Returns:
        By version, the paths where the manifests were.
    """
    found: dict[int, list[str]] = {}
    for _, noted in _gone(state):
        version = _of_topic(noted, "logs", topic)
        if isinstance(version, int) and _of_topic(noted, "tables", topic) == table_id:
            found.setdefault(version, []).append(noted["manifest"])
    return {version: sorted(paths) for version, paths in found.items()}


def forget_pins(state: Path, manifests: Iterable[str]) -> None:
    """Forget that datasets were built whose manifests are no longer there.

    Args:
        state: The project's state folder.
        manifests: Where their manifests were.
    """
    given_up = set(manifests)
    for path, noted in list(_gone(state)):
        if noted["manifest"] in given_up:
            path.unlink(missing_ok=True)


def _gone(state: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((state / _FOLDER).glob("*.json")):
        noted = _read(path)
        place = noted.get("manifest")
        if noted.get("is_built") and isinstance(place, str) and not Path(place).is_file():
            yield path, noted


def manifests_below(folder: Path) -> Iterator[Path]:
    """The manifests of datasets below a folder; hidden folders in it are passed over, it may be hidden itself."""
    for where, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".") and name not in _NOT_LOOKED_INTO]
        path = Path(where) / MANIFEST
        if MANIFEST in files and {"dataset", "files"} <= set(_read(path)):
            yield path


def _noted(state: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in (state / _FOLDER).glob("*.json"):
        noted = _read(path)
        place = noted.get("manifest")
        if not isinstance(place, str):
            continue
        if Path(place).is_file():
            found[place] = _read(Path(place))
        if not noted.get("is_built") and _is_young(path):
            found[f"{place} (being built)"] = noted
    return found


def _is_young(path: Path) -> bool:
    try:
        return path.stat().st_mtime > time.time() - _BUILDING_S
    except FileNotFoundError:  # dropped just now
        return False


def _of_topic(pinning: Mapping[str, Any], name: str, topic: str) -> object:
    held = pinning.get(name)
    return held.get(topic) if isinstance(held, dict) else None


def _pin(state: Path, manifest: Path) -> Path:
    return state / _FOLDER / f"{hashlib.sha256(str(manifest.resolve()).encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
