"""The command line: `headrace`.

Until this module is imported, Ctrl-C cannot be handled. So it imports almost nothing; the commands are in `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    from headrace.cli.interrupts import end_at_once

    end_at_once()
    try:
        from headrace.cli.entry import run

        run()
    finally:
        end_at_once()


def __getattr__(name: str) -> Any:
    if name == "app":
        from headrace.cli.commands import app

        return app
    msg = f"module 'headrace.cli' has no attribute {name!r}"
    raise AttributeError(msg)
