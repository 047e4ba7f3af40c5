"""Importing the modules of a feature repo, when modules of another project with the same names may be loaded.

Feature repos are folders of plain modules (`events.py`, `views.py`), imported by those short names, as Feast does. One
process may use several repos, so their modules must be kept apart.
"""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["describe_import_failure", "forget_modules", "own_module_names", "own_modules"]

_LOCK = threading.RLock()  # sys.modules and sys.path belong to the whole process
_LOADED: dict[Path, dict[str, ModuleType]] = {}


@contextmanager
def own_modules(repo: Path, *, fresh: bool = False) -> Iterator[None]:
    """Make imports inside the block find the repo's modules first. Modules that they hid are restored at the end.

    Modules loaded in the block are remembered for the next one. They also stay importable after it where no other
    module has their name, so that an import inside a function (of a validator, for example) works when it is called.

    Args:
        repo: The feature repo's folder.
        fresh: Import everything again, because files may have changed, and remember nothing.

    Yields:
        Nothing.
    """
    repo = repo.resolve()
    with _LOCK:
        names = own_module_names(repo)
        before, path_before, bytecode_before = _take(names), list(sys.path), sys.dont_write_bytecode
        sys.modules.update({} if fresh else _LOADED.get(repo, {}))
        sys.path.insert(0, str(repo))
        # A file edited twice within a second can keep its size and its time in seconds. Then its .pyc looks current and
        # is not.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            loaded = _take(names)
            sys.dont_write_bytecode = bytecode_before
            sys.path[:] = path_before
            sys.modules.update(before)
            if not fresh:
                _LOADED[repo] = loaded
                for name, module in loaded.items():
                    sys.modules.setdefault(name, module)
                if str(repo) not in sys.path:
                    sys.path.append(str(repo))


def forget_modules(repo: Path) -> None:
    """Forget the loaded modules of a repo, so that the next import reads its files again.

    Args:
        repo: The feature repo's folder.
    """
    with _LOCK:
        loaded = _LOADED.pop(repo.resolve(), {})
        for name, module in loaded.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def own_module_names(repo: Path) -> frozenset[str]:
    """The top-level module names of a repo's files and folders.

    Args:
        repo: The feature repo's folder.

    Returns:
        The names, without those of the standard library, which Python has loaded already.
    """
    files = {path.stem for path in repo.glob("*.py")}
    # A folder whose name cannot be imported is skipped: .headrace can have a log of many files.
    folders = {
        path.name
        for path in repo.iterdir()
        if path.name.isidentifier() and path.is_dir() and next(path.rglob("*.py"), None) is not None
    }
    return frozenset(name for name in files | folders if name.isidentifier()) - sys.stdlib_module_names


def describe_import_failure(error: BaseException, repo: Path) -> tuple[str, str]:
    """Where in a repo's files an import failed, and with which exception.

    Args:
        error: The exception of the import.
        repo: The feature repo's folder.

    Returns:
        ``folder/file.py:line`` (only the folder where the exception is from no file of the repo), and the exception's
        type and message.
    """
    repo = repo.resolve()
    if isinstance(error, SyntaxError) and error.filename:
        file = _inside(error.filename, repo)
        if file is not None:
            return f"{repo.name}/{file}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
    what = f"{type(error).__name__}: {error}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = _inside(frame.filename, repo)
        if file is not None:
            return f"{repo.name}/{file}:{frame.lineno}", what
    return repo.name, what


def _inside(filename: str, repo: Path) -> Path | None:
    """The path relative to the repo; None where it is outside (or no path, such as `<frozen importlib>`)."""
    file = Path(filename)
    if not file.is_absolute() or not file.resolve().is_relative_to(repo):
        return None
    return file.resolve().relative_to(repo)


def _take(names: frozenset[str]) -> dict[str, ModuleType]:
    """Remove the modules with these top-level names from sys.modules, and return them."""
    taken = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
    for name in taken:
        del sys.modules[name]
    return taken
