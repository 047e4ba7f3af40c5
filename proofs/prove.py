"""`python -m proofs.prove --cases 20000`: online, from the log and by brute force every value is equal."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import secrets
import sys
import time
from collections.abc import Iterator

from proofs.check import CASES, Tally, check_block

__all__ = ["main", "prove"]

_SHOWN = 10


def prove(cases: int, seed: int, processes: int, *, tell: bool = False) -> Tally:
    """Check random cases.

    Args:
        cases: How many at least; they come in blocks that share a test bed.
        seed: The seed of the first block; the others count up from it.
        processes: How many processes to use.
        tell: Whether to print progress.

    Returns:
        What was compared.
    """
    blocks = range(seed, seed + -(-cases // CASES))
    total, started = Tally(), time.monotonic()
    for number, tally in enumerate(_checked(blocks, processes), 1):
        total.add(tally)
        if tell and number % 100 == 0:
            passed = time.monotonic() - started
            print(f"{total.cases:>7,} cases  {total.values.total():>11,} values  {passed:5.0f} s", flush=True)
    return total


def main(arguments: list[str] | None = None) -> int:
    """Prove, print what was compared, and give the exit code: 1 where anything differed.

    Args:
        arguments: The command line's; None is the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m proofs.prove", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="how many cases (default 20,000)")
    parser.add_argument("--seed", type=int, default=None, help="where to start; a block's own seed runs it again")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(10**12) if given.seed is None else given.seed
    print(f"proving one meaning online and offline: {given.cases:,} cases, seed {seed}", flush=True)
    started = time.monotonic()
    total = prove(given.cases, seed, given.processes, tell=True)
    _print(total, seed, time.monotonic() - started)
    return 1 if total.mismatches else 0


def _checked(blocks: range, processes: int) -> Iterator[Tally]:
    if processes == 1:
        yield from map(_quietly, blocks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_quietly, blocks)


def _quietly(seed: int) -> Tally:
    logging.getLogger("headrace").setLevel(logging.ERROR)  # dead letters are part of the cases
    try:
        return check_block(seed)
    except Exception as error:
        error.add_note(f"in block {seed}: python -m proofs.prove --cases {CASES} --processes 1 --seed {seed}")
        raise


def _print(total: Tally, seed: int, seconds: float) -> None:
    print(f"\n{'aggregate':<24}{'values compared':>16}")
    for name, count in sorted(total.values.items()):
        print(f"{name:<24}{count:>16,}")
    print(f"{'all':<24}{total.values.total():>16,}")
    print(
        f"\n{total.cases:,} cases (seeds {seed} to {seed + total.cases // CASES - 1}, {CASES} cases each): "
        f"{total.events:,} events in "
        f"{total.sends:,} fetches, {total.restarts:,} workers killed, {total.replays:,} replays, in {seconds:.0f} s."
    )
    for mismatch in total.mismatches[:_SHOWN]:
        print(mismatch)
    if total.mismatches:
        print(f"FAILED: {len(total.mismatches):,} values differ.")
    else:
        print("online == history as known == brute force, and history as of the event == brute force, for every value.")


if __name__ == "__main__":
    sys.exit(main())
