"""Our side: the whole worker, as `headrace stream --until-end` runs it in its project's folder."""

from __future__ import annotations

import logging

from benchmarks.peers.protocol import Job, Run, main
from headrace.config import Project
from headrace.stream import run_worker


def run(job: Job) -> Run:
    """Run a worker until it has read everything.

    Args:
        job: What to do; its folder is the project's.
    """
    logging.basicConfig(level=logging.WARNING)
    stats = run_worker(Project.load(job.folder), until_end=True)
    # Its own closing rate also counts the last append to the log, which comes after the last feature is readable.
    (rate,) = stats.rates(1)
    more = {"logged_s": stats.seconds, "dead_letters": stats.dead_letters, "rounds": stats.rounds}
    return Run(stats.events, stats.events / rate, more)


if __name__ == "__main__":
    main(run)
