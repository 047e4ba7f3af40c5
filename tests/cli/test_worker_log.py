"""A worker's log lines: one per message whatever it is, with the time and its zone, and no floods."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import pytest

from headrace.cli.worker_log import FloodFilter, LineFormatter

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def record(
    message: object, *args: object, name: str = "headrace.worker.faust_app", level: int = logging.WARNING
) -> logging.LogRecord:
    return logging.LogRecord(name, level, "app.py", 1, message, args, None)


def test_message_of_several_lines_is_one_line() -> None:
    line = LineFormatter(tracebacks=False).format(record("%s is away.\n  → Start it.", "Redis"))
    assert re.fullmatch(TIME + r" WARNING headrace\.worker\.faust_app: Redis is away\. → Start it\.", line)


def test_exception_is_told_in_the_line_and_its_traceback_where_asked_for() -> None:
    made = record("It failed")
    try:
        raise ValueError("x\ny")  # noqa: EM101 it is its text that is tested
    except ValueError:
        made.exc_info = sys.exc_info()
    assert LineFormatter(tracebacks=False).format(made).endswith("It failed: ValueError: x y")
    assert "Traceback" in LineFormatter(tracebacks=True).format(made)


def test_flood_is_one_line_and_then_one_a_minute_with_how_many() -> None:
    now = [0.0]
    flood = FloodFilter(lambda: now[0])
    said = []
    for second in range(125):
        now[0] = float(second)
        made = record("Unable connect to node %d: attempt %d", 1, second, name="aiokafka.conn")
        if flood.filter(made):
            said.append(made.getMessage())
    assert said == [
        "Unable connect to node 1: attempt 0",
        "Unable connect to node 1: attempt 60 (and 59 like it in 60 s)",
        "Unable connect to node 1: attempt 120 (and 59 like it in 60 s)",
    ]


def test_texts_that_differ_by_a_number_alone_are_one_flood() -> None:
    flood = FloodFilter(lambda: 0.0)
    assert [flood.filter(record(f"Heartbeat {n} failed", name="kafka.coordinator")) for n in range(3)] == [
        True,
        False,
        False,
    ]
    assert flood.filter(record("Something else", name="kafka.coordinator"))


def test_our_own_messages_may_come_a_few_times() -> None:
    flood = FloodFilter(lambda: 0.0)
    assert sum(flood.filter(record("Dead letter %d", n)) for n in range(1_000)) == 20


PROGRAM = """
import logging
from headrace.cli.worker_log import set_up_logging
set_up_logging(verbose={verbose})
logging.getLogger("headrace.worker.liveness").info("Assigned: %s", "x" * 500)
logging.getLogger("faust.headrace.reader").warning("Reading: refused")
logging.getLogger("aiokafka.conn").info("chatter")
logging.getLogger("aiokafka.conn").warning("gone")
logging.getLogger("faust.headrace.app").error("[^-App]: Crashed reason=%r", ValueError("x"))
"""


@pytest.mark.parametrize("columns", ["40", "500"])
def test_default_tells_our_news_and_the_libraries_warnings(columns: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(verbose=False)],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": columns, "PATH": ""},
    )
    lines = done.stderr.splitlines()
    assert [re.sub(TIME, "T", line) for line in lines] == [
        f"T INFO headrace.worker.liveness: Assigned: {'x' * 500}",
        "T WARNING faust.headrace.reader: Reading: refused",
        "T WARNING aiokafka.conn: gone",
    ]


def test_verbose_tells_everything() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(verbose=True)], capture_output=True, text=True, check=True
    )
    assert len(done.stderr.splitlines()) == 5
