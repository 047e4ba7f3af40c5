"""Importing a feature repo's own modules, though another project's of the same name may be loaded already.

Feature repos are folders of plain modules (`events.py`, `views.py`), imported by those short names as Feast does. One
process may meet several repos, so their modules must not be taken for one another's.
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
    """Make imports inside the block find the repo's modules first, and put back afterwards what they stood in front of.

    Modules loaded in the block are remembered for the next one. They also stay importable after it where no other
    module has their name, so that an import inside a function (of a validator, say) still works when it is called.

    Args:
        repo: The feature repo's folder.
        fresh: Import anew what was loaded before, as files may have changed, and leave no trace.

    Yields:
        Nothing.
    """
    repo = repo.resolve()
    with _LOCK:
        names = own_module_names(repo)
        before, path_before, bytecode_before = _take(names), list(sys.path), sys.dont_write_bytecode
        sys.modules.update({} if fresh else _LOADED.get(repo, {}))
        sys.path.insert(0, str(repo))
        # A file edited twice within a second can keep its size and its time in seconds: its .pyc would look current.
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
    """Forget what was loaded of a repo, so that the next import reads its files again.

    Args:
        repo: The feature repo's folder.
    """
    with _LOCK:
        loaded = _LOADED.pop(repo.resolve(), {})
        for name, module in loaded.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def own_module_names(repo: Path) -> frozenset[str]:
    """The top-level names that a repo's files and folders give to modules.

    Args:
        repo: The feature repo's folder.

    Returns:
        The names; those of the standard library are left out, for Python has loaded its own by then.
    """
    files = {path.stem for path in repo.glob("*.py")}
    # A name that cannot be imported is not looked into: .headrace may hold a log of many files.
    folders = {
        path.name
        for path in repo.iterdir()
        if path.name.isidentifier() and path.is_dir() and next(path.rglob("*.py"), None) is not None
    }
    return frozenset(name for name in files | folders if name.isidentifier()) - sys.stdlib_module_names


def describe_import_failure(error: BaseException, repo: Path) -> tuple[str, str]:
    """Where in a repo's files an import went wrong, and with what.

    Args:
        error: What importing raised.
        repo: The feature repo's folder.

    Returns:
        ``folder/file.py:line`` (the folder alone where no file of the repo is to blame), and the exception's type and
        message.
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
    """The path relative to the repo; None where it lies elsewhere (`<frozen importlib>` is no path at all)."""
    file = Path(filename)
    if not file.is_absolute() or not file.resolve().is_relative_to(repo):
        return None
    return file.resolve().relative_to(repo)


def _take(names: frozenset[str]) -> dict[str, ModuleType]:
    """Remove the modules of these top-level names from sys.modules, and return them."""
    taken = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
    for name in taken:
        del sys.modules[name]
    return taken
