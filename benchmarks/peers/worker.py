"""A worker that runs until it is stopped, and writes how many events it applied: `… .worker PROJECT FILE`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from headrace.config import Project
from headrace.worker import run_worker
from headrace.worker.stats import WorkerStats


def main(project: str, file: str) -> None:
    """Run it.

    Args:
        project: The project's folder.
        file: Where to keep the number.
    """
    logging.basicConfig(level=logging.WARNING)

    def keep(stats: WorkerStats) -> None:
        partial = Path(f"{file}.partial")
        partial.write_text(str(stats.events), encoding="utf-8")
        partial.replace(file)

    run_worker(Project.load(project), watch=keep)


if __name__ == "__main__":
    main(*sys.argv[1:])
