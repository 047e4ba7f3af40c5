"""`python -m proofs.crash`: workers are killed, at random and where it hurts most. Nothing is lost or counted twice."""

from __future__ import annotations

import argparse
import json
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from headrace.worker.failpoints import FAILPOINTS
from proofs.crash_bed import CrashBed
from proofs.crash_check import Findings
from proofs.crash_workers import CrashError, Worker, wait_for

__all__ = ["Part", "at_failpoints", "at_random", "joining_and_leaving", "main"]

_SHOWN = 10
_START_S = 3.5
"""About how long a worker takes to its first event, so that some are killed on the way there."""

_REST_S = 3.0
"""After a worker came or was given up (more than the session's timeout), the group is at rest again."""

_VICTIMS = 3
"""How many workers may be tried until one dies in the middle of a rebalance."""

REBALANCES_AT_START = 2
"""A worker that starts is told twice of its partitions: that it has none, and then which."""


@dataclass
class Part:
    """A part of the proof, and what came of it.

    Attributes:
        name: What was done.
        kills: How many workers were killed with SIGKILL.
        restarts: How many workers were started after the first.
        left: How many workers left in good order (SIGTERM).
        zombies: How many were stopped until others had their partitions, and went on.
        refused: How many writes were refused.
        changes: How many times the views were changed, and the new versions went live.
        seconds: How long it took.
        findings: What the checks found.
    """

    name: str
    kills: int = 0
    restarts: int = 0
    left: int = 0
    zombies: int = 0
    refused: int = 0
    changes: int = 0
    seconds: float = 0.0
    findings: Findings = field(default_factory=Findings)


def at_random(bed: CrashBed, part: Part, dice: random.Random, kills: int) -> None:
    """Kill a worker again and again: some while they start, most while they apply, write and commit."""
    for _ in range(kills):
        worker = bed.workers.start()
        if dice.random() < 0.4:
            time.sleep(dice.uniform(0.05, _START_S))
        else:
            bed.workers.wait_progress(worker)
            time.sleep(dice.uniform(0, 1.5))
        worker.kill()
        part.kills += 1


def at_failpoints(bed: CrashBed, part: Part, dice: random.Random, failpoints: tuple[str, ...]) -> None:
    """Have a worker kill itself at each failpoint."""
    for name in failpoints:
        times = dice.randint(1, REBALANCES_AT_START if name == "during-rebalance" else 5)
        bed.workers.start(f"{name}:{times}").wait_killed()
        part.kills += 1


def joining_and_leaving(bed: CrashBed, part: Part, dice: random.Random, *, short: bool = False) -> None:
    """Two workers, then three; they leave, die, die in the middle of a rebalance, and come back from the dead."""
    running = [bed.workers.start()]
    bed.workers.wait_progress(running[0])
    running.append(_join(bed, dice))
    if short:
        _refused_zombie(bed, part, dice)
        return
    running.append(_join(bed, dice))
    for turn in range(3):
        if turn % 2:
            _leave(bed, part, running.pop(dice.randrange(len(running))))
        else:
            time.sleep(dice.uniform(0, 1))
            running.pop(dice.randrange(len(running))).kill()
            part.kills += 1
        running.append(_join(bed, dice))
    _leave(bed, part, running.pop(0))
    _killed_in_a_rebalance(bed, part, dice)
    for failpoint in ("before-log-append", "before-offset-commit"):
        running.append(_zombie(bed, part, dice, failpoint))
        _leave(bed, part, running.pop(0))
    _refused_zombie(bed, part, dice)


def changing_views(bed: CrashBed, part: Part, dice: random.Random, changes: tuple[int, ...], workers: int) -> None:
    """Views change again and again; workers are killed while they build new versions. The requested ones are served."""
    running = [bed.workers.start() for _ in range(workers)]
    for worker in running:
        bed.workers.wait_progress(worker)
    for longer in changes:
        time.sleep(dice.uniform(0, 2))
        bed.change(longer)
        for _ in range(2):
            time.sleep(dice.uniform(0.2, 2.5))
            running.pop(dice.randrange(len(running))).kill()
            part.kills += 1
            running.append(bed.workers.start())
            bed.workers.wait_progress(running[-1])
        bed.wait_live()
        part.changes += 1


def _join(bed: CrashBed, dice: random.Random) -> Worker:
    worker = bed.workers.start()
    time.sleep(_START_S + dice.uniform(0, 1))
    bed.all_move()
    return worker


def _leave(bed: CrashBed, part: Part, worker: Worker) -> None:
    """SIGTERM, in a group that is at rest: Tansu never forgets a leader that leaves while others are joining."""
    bed.all_move()
    time.sleep(_REST_S)
    worker.end()
    part.left += 1
    bed.all_move()


def _killed_in_a_rebalance(bed: CrashBed, part: Part, dice: random.Random) -> None:
    """A worker dies when a rebalance takes its partitions, and one when a rebalance has given it some."""
    for times in (REBALANCES_AT_START + 1, REBALANCES_AT_START + 2):
        for _ in range(_VICTIMS):
            victim = bed.workers.start(f"during-rebalance:{times}")
            time.sleep(_START_S)
            _rebalance_until_dead(bed, part, dice, victim)
            part.kills += 1
            if not victim.alive:
                victim.wait_killed()
                break
            victim.kill()  # on a busy machine the group may not have let it in: the next one comes to a group of others
        else:
            msg = f"{victim.failpoint} was not reached by any of {_VICTIMS} workers:\n{victim.said()}"
            raise CrashError(msg)


def _rebalance_until_dead(bed: CrashBed, part: Part, dice: random.Random, victim: Worker) -> None:
    """Have workers come and go, each a rebalance for all others, for as long as the victim lives."""
    for patience in range(1, 6):
        # One may have come with the victim, or not at all if the machine is busy.
        cause = bed.workers.start()
        time.sleep(patience * _START_S + dice.uniform(0, 1))
        _leave(bed, part, cause)
        if not victim.alive:
            return


def _zombie(bed: CrashBed, part: Part, dice: random.Random, failpoint: str) -> Worker:
    """Stop a worker until others have its partitions and have written, and let it go on where it was."""
    zombie = bed.workers.start(f"{failpoint}:{dice.randint(2, 5)}:stop")
    wait_for(lambda: zombie.stopped, f"The worker did not come to {failpoint}", 240, zombie)
    bed.all_move()
    zombie.process.send_signal(signal.SIGCONT)
    part.zombies += 1
    time.sleep(1)
    bed.all_move()
    return zombie


def _refused_zombie(bed: CrashBed, part: Part, dice: random.Random) -> None:
    """Zombies until one's write is refused: a round of nothing but repeated events and dead letters has none."""
    for _ in range(4):
        zombie = _zombie(bed, part, dice, "before-online-write")
        if zombie.refused_writes:
            return
        zombie.kill()
        part.kills += 1


def _run(part: Part, bed: CrashBed, crash: Callable[[CrashBed, Part], None]) -> Part:
    begun = time.monotonic()
    with bed:
        crash(bed, part)
        part.kills += bed.workers.kill_all()
        part.findings = bed.settle()
        part.restarts = len(bed.workers.all) - 1
        part.refused = bed.workers.refused_writes
    if part.zombies and not part.refused:
        part.findings.mismatches.append("No zombie's write was refused.")
    part.seconds = round(time.monotonic() - begun, 1)
    return part


def crash(
    kills: int, seed: int, *, short: bool = False, only: int | None = None, tell: Callable[[str], None] = lambda _: None
) -> list[Part]:
    """Run all parts.

    Args:
        kills: How many workers to kill at random moments.
        seed: What moments and events are drawn from.
        short: Whether to leave most of it out, for `make test`.
        only: The number of the one part to run; None runs all.
        tell: Called with what begins.

    Returns:
        The parts.

    Raises:
        CrashError: A worker did something other than what it was made to do.
    """
    dice = random.Random(seed)  # noqa: S311 a draw, not a secret
    failpoints = ("after-online-write", "after-log-append") if short else FAILPOINTS
    rate = 250
    parts: list[Part] = []

    def run(number: int, name: str, crash: Callable[[CrashBed, Part], None], *, on_redis: bool = False) -> None:
        if only not in (None, number):
            return
        tell(name)
        bed = CrashBed(dice.randrange(2**32), rate, on_redis=on_redis)
        part = _run(Part(name), bed, crash)
        tell(f"{part.kills} kills, {len(part.findings.mismatches):,} mismatches, {part.seconds:.0f} s")
        parts.append(part)

    if short:

        def both(bed: CrashBed, part: Part) -> None:
            at_random(bed, part, dice, kills)
            at_failpoints(bed, part, dice, failpoints)
            changing_views(bed, part, dice, (2,), workers=1)

        run(1, "one, killed at random moments and at failpoints; views change", both)
    else:
        run(1, f"one, killed at {kills} random moments", lambda bed, part: at_random(bed, part, dice, kills))
        run(2, "one, killed at each failpoint", lambda bed, part: at_failpoints(bed, part, dice, failpoints))
    run(
        3,
        "two, one of them hangs" if short else "two, then three: join, leave, die, hang",
        lambda bed, part: joining_and_leaving(bed, part, dice, short=short),
        on_redis=True,
    )
    if not short:
        run(4, "one; views change", lambda bed, part: changing_views(bed, part, dice, (2, 3, 1, 2, 3), workers=1))
        run(
            5,
            "two; views change",
            lambda bed, part: changing_views(bed, part, dice, (2, 1, 3), workers=2),
            on_redis=True,
        )
    return parts


def main(arguments: list[str] | None = None) -> int:
    """Crash, check, print the table, and give the exit code: 1 where anything differs.

    Args:
        arguments: The command line's; None is the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m proofs.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=None, help="kills at random moments (default 50; 3 with --short)")
    parser.add_argument("--seed", type=int, default=None, help="what moments and events are drawn from")
    parser.add_argument("--short", action="store_true", help="less than a minute of it, as make test runs")
    parser.add_argument("--part", type=int, choices=(1, 2, 3, 4, 5), help="run only this part")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    kills = given.kills if given.kills is not None else 3 if given.short else 50
    says = Console(stderr=True, highlight=False)
    says.print(f"killing workers, seed {seed}")
    try:
        parts = crash(kills, seed, short=given.short, only=given.part, tell=lambda what: says.print(f"  {what}"))
    except CrashError as error:
        says.print(f"[red]The proof could not be made[/] (seed {seed}): {error}", markup=True)
        return 1
    if given.json:
        print(json.dumps({"seed": seed, "parts": [asdict(part) for part in parts]}, indent=2, ensure_ascii=False))
    else:
        _print(parts)
    return 1 if any(part.findings.mismatches for part in parts) else 0


def _print(parts: list[Part]) -> None:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    table = Table(title="Proof by crash", title_justify="left", caption_justify="left")
    table.add_column("workers")
    names = [
        "kills",
        "restarts",
        "left",
        "zombies",
        "refused",
        "changes",
        "events",
        "dead",
        "values",
        "mismatches",
        "seconds",
    ]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for part in parts:
        found = part.findings
        done = [part.kills, part.restarts, part.left, part.zombies, part.refused, part.changes]
        checked = [found.logged, found.dead_letters, found.compared, len(found.mismatches)]
        table.add_row(part.name, *(f"{number:,}" for number in [*done, *checked]), f"{part.seconds:.0f}")
    out.print(table)
    wrong = [mismatch for part in parts for mismatch in part.findings.mismatches]
    for mismatch in wrong[:_SHOWN]:
        out.print(mismatch, markup=False)
    if wrong:
        out.print(f"FAILED: {len(wrong):,} mismatches.")
    else:
        out.print("Every feature equals brute force, the log holds each event once, every dead letter is there.")


if __name__ == "__main__":
    sys.exit(main())
