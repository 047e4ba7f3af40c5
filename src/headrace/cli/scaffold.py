"""`headrace init`: a small working project from the files in `template/common` and in the template's own folder."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from string import Template

from headrace.errors import ConfigError

__all__ = ["TEMPLATES", "project_name", "scaffold"]

TEMPLATES = ("shop", "sensors")

_SUFFIX = ".tmpl"
"""The ending of template files, so that no tool treats them as files of this package."""

_HISTORY = timedelta(days=7)


def scaffold(folder: Path, *, template: str = TEMPLATES[0], now: datetime | None = None) -> list[Path]:
    """Make a project, completely or not at all.

    Args:
        folder: Its folder: an empty one, or one that does not exist yet in a folder that does. The project is named
            after it.
        template: Which project: `shop` (orders) or `sensors` (readings).
        now: The time, with a time zone; the example's events begin a week before it. None is the system clock.

    Returns:
        The new files, sorted.

    Raises:
        ConfigError: The folder is not empty, its name gives no project name, there is no such template, or it cannot be
            written.
    """
    if template not in TEMPLATES:
        msg = f"There is no template {template!r}."
        raise ConfigError(msg, hint=f"Templates: {', '.join(TEMPLATES)}.")
    name = Path(os.path.abspath(folder)).name
    opened = (now or datetime.now(UTC)).astimezone(UTC) - _HISTORY
    values = {
        "title": name,
        "folder": shlex.quote(name),
        "project": project_name(name),
        "opened": f"{opened.year}, {opened.month}, {opened.day}, {opened.hour}",
    }
    templates = files(__package__) / "template"
    contents = {
        path: Template(text).substitute(values)
        for part in ("common", template)
        for path, text in _templates(templates / part)
    }
    try:
        _refuse_taken(folder)
        _write(folder, contents)
    except OSError as error:
        msg = f"The project cannot be written to {folder}: {error.strerror or error}."
        raise ConfigError(msg, hint="Give a folder that can be written. No file was left there.") from error
    return sorted(folder / path for path in contents)


def project_name(name: str) -> str:
    """The name of a project in Feast and as a consumer group, from its folder's name.

    It is an identifier in lower case: accents are removed, and other characters that are no ASCII letter or digit
    become underscores.

    >>> project_name("My-Shop 2")
    'my_shop_2'

    Args:
        name: The folder's name.

    Returns:
        The project's name.

    Raises:
        ConfigError: No character of the name is left, or it would begin with a digit.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not found or found[0].isdigit():
        why = f"it would be {found!r}, which begins with a digit" if found else "it has no Latin letter"
        msg = f"The folder {name!r} gives no name to a project: {why}."
        raise ConfigError(msg, hint="Begin it with a letter, such as my-shop; the project is then named my_shop.")
    return found


def _templates(folder: Traversable, *under: str) -> Iterator[tuple[PurePath, str]]:
    """The files of a template: their paths in a project, and their texts."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, *under, entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield PurePath(*under, entry.name.removesuffix(_SUFFIX)), entry.read_text(encoding="utf-8")


def _refuse_taken(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        msg = f"The folder {folder} exists and is not empty."
        raise ConfigError(msg, hint="Give another name, or empty it first; nothing there was touched.")
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} exists and is no folder."
        raise ConfigError(msg, hint="Give another name; nothing there was touched.")
    if not folder.parent.is_dir():
        msg = f"There is no folder {folder.parent} to make {folder.name} in."
        raise ConfigError(msg, hint="Make it first, or give a name in a folder that exists.")


def _write(folder: Path, contents: dict[PurePath, str]) -> None:
    """Write everything to a temporary folder on the same disk, then move it to its place."""
    # A folder that exists is kept, because it may be the current folder of a shell; only its contents are moved in.
    there = folder.is_dir()
    with tempfile.TemporaryDirectory(dir=folder if there else folder.parent, prefix=".headrace-init-") as temporary:
        made = Path(temporary) / "project"  # other users cannot read the temporary folder; they should read the project
        for path, text in contents.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8", newline="\n")
        if there:
            _move_all(made, folder)
        else:
            made.rename(folder)


def _move_all(made: Path, folder: Path) -> None:
    moved: list[str] = []
    try:
        for name in sorted(entry.name for entry in made.iterdir()):
            (made / name).rename(folder / name)
            moved.append(name)
    except BaseException:
        for name in moved:
            (folder / name).rename(made / name)
        raise
