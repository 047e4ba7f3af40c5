"""A process that should end does, whatever hangs in it: with its last words, and the code that they have."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import logging, sys, threading, time
logging.basicConfig(format="%(message)s")
from headrace.errors import HeadraceError
from headrace.worker.watchdog import Watchdog

def say(error):
    print("error:", error, file=sys.stderr)
    return 7

watchdog = Watchdog(say, within_s=0.5)
"""


def run(then: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + then], capture_output=True, text=True, timeout=120, check=False
    )
    return ended.returncode, ended.stderr


def test_process_that_was_asked_to_end_and_hangs_is_ended_without_a_failure() -> None:
    code, said = run("watchdog.end(); watchdog.end(); time.sleep(100)")
    assert code == 0
    assert "did not end cleanly" in said


@pytest.mark.parametrize(
    "hangs",
    [
        "time.sleep(100)",
        "threading.Thread(target=time.sleep, args=(100,)).start()",
    ],
)
def test_process_that_fails_and_hangs_is_ended_with_its_last_words(hangs: str) -> None:
    code, said = run(f"watchdog.end(HeadraceError('the first')); watchdog.end(HeadraceError('then'));\n{hangs}")
    assert (code, said) == (7, "error: the first\n")


def test_failure_that_comes_while_the_worker_was_asked_to_end_is_told() -> None:
    code, said = run("watchdog.end(); watchdog.end(HeadraceError('the disk is full')); time.sleep(100)")
    assert (code, said) == (7, "error: the disk is full\n")


def test_process_whose_last_words_were_said_only_loses_what_keeps_it() -> None:
    code, said = run("watchdog.reported(4); threading.Thread(target=time.sleep, args=(100,)).start()")
    assert (code, said) == (4, "")


@pytest.mark.slow
def test_last_words_that_nobody_takes_do_not_keep_the_process() -> None:
    code, _ = run(
        "watchdog = Watchdog(lambda error: time.sleep(100), 0.5); watchdog.end(HeadraceError('x')); time.sleep(100)"
    )
    assert code == 1


def test_watchdog_ends_what_its_check_finds_wrong() -> None:
    check = "lambda: HeadraceError('the loop stands still') if time.monotonic() > begun + 0.2 else None"
    code, said = run(f"begun = time.monotonic(); watchdog.watch({check}); time.sleep(100)")
    assert (code, said) == (7, "error: the loop stands still\n")


@pytest.mark.slow
def test_interpreter_that_is_held_up_by_c_code_is_ended_all_the_same() -> None:
    # A regular expression that explodes holds the interpreter's lock, so that no thread of Python runs.
    code, said = run("import re; watchdog.end(HeadraceError('x')); re.match(r'(a|aa)+$', 'a' * 60 + 'b')")
    assert code == 1
    assert "re" in said


def test_process_that_has_ended_its_worker_in_order_goes_on() -> None:
    code, said = run(
        "watchdog.end(); watchdog.done(); [one.join() for one in threading.enumerate() if one.daemon]; "
        "raise SystemExit(3)"
    )
    assert (code, said) == (3, "")
