"""Failpoints end a worker where they say, the time they say, and otherwise cost nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace.worker
from headrace.errors import ConfigError
from headrace.worker import failpoints
from headrace.worker.failpoints import FAILPOINTS, Failpoint
from tests.waits import wait_until

REACH_FOREVER = """
import os
from headrace.worker import failpoints
failpoints.arm(os.environ["HEADRACE_FAILPOINT"])
for count in range(1, 6):
    failpoints.reach("before-log-append")
    failpoints.reach("after-log-append")
    print(count, flush=True)
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def start(setting: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HEADRACE_FAILPOINT": setting}
    return subprocess.Popen(
        [sys.executable, "-c", REACH_FOREVER],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(("setting", "printed"), [("after-log-append", ""), ("after-log-append:3", "1\n2\n")])
def test_worker_dies_when_a_failpoint_is_reached_for_the_given_time(setting: str, printed: str) -> None:
    with start(setting) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert out == printed


def test_worker_that_is_stopped_goes_on_when_continued() -> None:
    with start("before-log-append:2:stop") as process:
        wait_until(lambda: b"T (stopped)" in Path(f"/proc/{process.pid}/status").read_bytes(), "the failpoint")
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == "1\n2\n3\n4\n5\n"


def test_failpoint_that_is_not_armed_does_nothing() -> None:
    for name in FAILPOINTS:
        failpoints.reach(name)
    failpoints.arm("after-log-append:2")
    failpoints.reach("before-log-append")
    failpoints.reach("after-log-append")  # once is not twice


@pytest.mark.parametrize("name", ["", "after-lunch", "After-Log-Append", "during_rebalance"])
def test_unknown_failpoint_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Failpoint(f"{name}:2")
    assert raised.value.hint is not None
    assert all(known in raised.value.hint for known in FAILPOINTS)


@pytest.mark.parametrize("setting", ["after-log-append:0", "after-log-append:-1", "after-log-append:x:stop"])
@pytest.mark.parametrize("how", ["", ":pause"])
def test_setting_that_does_not_read_is_refused(setting: str, how: str) -> None:
    with pytest.raises(ConfigError, match="does not read"):
        Failpoint(setting + how)


def test_every_failpoint_is_called_in_the_stream_and_no_other_is() -> None:
    files = Path(headrace.worker.__file__).parent.glob("*.py")
    called = {name for file in files for name in re.findall(r'failpoints\.reach\("([^"]+)"\)', file.read_text())}
    assert called == set(FAILPOINTS)
