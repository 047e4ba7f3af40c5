"""A worker that was asked to end does, even where Faust waits for an answer that never comes."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HANGS = """
import logging, time
logging.basicConfig()
from headrace.stream.run import Leaving
leaving = Leaving(0.2)
leaving.begin()
leaving.begin()
{then}
"""


def run(then: str) -> tuple[int, str, float]:
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", HANGS.format(then=then)], capture_output=True, text=True, timeout=60, check=False
    )
    return ended.returncode, ended.stderr, time.monotonic() - begun


def test_process_that_hangs_is_ended_and_says_so() -> None:
    code, said, seconds = run("time.sleep(50)")
    assert (code, seconds < 40) == (0, True)
    assert "ends without" in said


@pytest.mark.parametrize("then", ["leaving.done(); time.sleep(0.5); raise SystemExit(3)"])
def test_process_that_has_left_in_good_order_goes_on(then: str) -> None:
    code, said, _ = run(then)
    assert (code, said) == (3, "")
