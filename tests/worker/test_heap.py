"""Arrays that come and go are not asked of the system each time."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from headrace.worker.heap import keep_heap

_FAULTS = """
import resource, sys
import numpy as np
from headrace.worker.heap import keep_heap
assert sys.argv[1] != "kept" or keep_heap()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    arrays = [np.ones(1 << 18) for _ in range(8)]
work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_pages_of_freed_arrays_are_used_again() -> None:
    asked, kept = (
        int(subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("asked", "kept")
    )
    assert kept < asked / 4, (asked, kept)


def test_library_without_the_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert keep_heap() is False
