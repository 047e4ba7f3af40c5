"""Our side: the whole worker, as `headrace stream --until-end` runs it in its project's folder."""

from __future__ import annotations

import logging
import time
from typing import Any

from benchmarks.peers.protocol import Job, Run, main
from headrace.config import Project
from headrace.kafka.fetch_reader import RecordReader
from headrace.worker import run_worker
from headrace.worker.stats import WorkerStats


class _First:
    """When a method is called for the first time."""

    def __init__(self, kind: type, method: str) -> None:
        self.at: float | None = None
        inner = getattr(kind, method)

        def noting(*arguments: Any) -> Any:
            if self.at is None:
                self.at = time.perf_counter()
            return inner(*arguments)

        setattr(kind, method, noting)


def run(job: Job) -> Run:
    """Run a worker until it has read everything.

    Args:
        job: What to do; its folder is the project's.
    """
    logging.basicConfig(level=logging.WARNING)
    # The worker's own clock begins with the first round. Here it begins with the first fetch, as for the peers.
    fetch, first_round = _First(RecordReader, "_keep"), _First(WorkerStats, "begin_round")
    stats = run_worker(Project.load(job.folder), until_end=True)
    assert fetch.at is not None, "nothing was read"
    assert first_round.at is not None, "nothing was applied"
    # Its closing rate also counts the last append to the log, which comes after the last feature is readable.
    (rate,) = stats.rates(1)
    before = first_round.at - fetch.at
    more = {"before_first_round_s": before, "logged_s": before + stats.seconds, "rounds": stats.rounds}
    return Run(stats.events, before + stats.events / rate, more)


if __name__ == "__main__":
    main(run)
