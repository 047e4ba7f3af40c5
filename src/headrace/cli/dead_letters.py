"""`headrace deadletters`: show dead letters, and send them back after a fix."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.output import AsJson, Folder, Yes, command, confirm, console, note, print_json, table
from headrace.config import Project
from headrace.times import iso_time

if TYPE_CHECKING:
    from headrace.events.dead_letter import DeadLetter

__all__ = ["deadletters"]

_SHOWN = 50
_BYTES_SHOWN = 200
"""Of each value, in the table."""


@command
def deadletters(
    topics: Annotated[
        list[str] | None, typer.Argument(help="The topics; all of the plan's if left out.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Only the newest N. If left out, 50 are shown, and all are sent back. 0 is all.", show_default=False
        ),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Send them back to their topics, after a fix. Each is sent back once.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Show events that could not be used, and why. Or send them back to their topics."""
    from headrace.cli.project_status import count_undelivered
    from headrace.kafka import project_connection
    from headrace.plan import read_plan
    from headrace.produce import read_dead_letters

    project = Project.load(folder)
    wanted = topics or [source.topic for source in read_plan(project.plan_file).sources.values()]
    letters = read_dead_letters(project_connection(project), wanted)
    if (undelivered := count_undelivered(project)) is not None:
        note(undelivered)
    if replay:
        _replay(project, letters[-limit:] if limit else letters, yes=yes, as_json=as_json)
        return
    limit = _SHOWN if limit is None else limit
    shown = letters[-limit:] if limit > 0 else letters
    if as_json:
        print_json(
            {
                "count": len(letters),
                "dead_letters": [
                    {
                        "topic": letter.topic,
                        "partition": letter.partition,
                        "offset": letter.offset,
                        "reason": letter.reason,
                        "field": letter.field,
                        "model": letter.model,
                        "key": _text(letter.key),
                        "value": _text(letter.value),
                        "whole_key": letter.whole_key and asdict(letter.whole_key),
                        "whole_value": letter.whole_value and asdict(letter.whole_value),
                        "recorded_at": letter.recorded_at,
                        "replayed_at": _replayed_at(letter),
                    }
                    for letter in shown
                ],
            }
        )
        return
    if not letters:
        console.print("No dead letters.")
        return
    rows = [
        [_position(letter), letter.field, letter.reason, _shown_value(letter), _replayed_at(letter)] for letter in shown
    ]
    columns = ["position", "field", "reason", "value", "sent back"]
    if all(letter.replayed_at_ms is None for letter in shown):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table(f"{len(letters):,} dead letters", columns, rows)
    if len(shown) < len(letters):
        note(f"The newest {len(shown)} of {len(letters):,}; --limit 0 shows all.")


def _replay(project: Project, letters: list[DeadLetter], *, yes: bool, as_json: bool) -> None:
    from headrace.produce import replay_dead_letters, why_not_replayed

    passed = [(letter, why) for letter in letters if (why := why_not_replayed(letter)) is not None]
    ready = len(letters) - len(passed)
    for why, count in Counter(why for _, why in passed).items():
        note(f"{count:,} of them {why}.")
    if ready:
        by_topic = Counter(letter.topic for letter in letters if why_not_replayed(letter) is None)
        what = ", ".join(f"{count:,} to {topic}" for topic, count in by_topic.items())
        confirm(
            f"Send back {ready:,} dead letters ({what})? An event that is refused again becomes a new dead letter.",
            yes=yes,
        )
    sent = replay_dead_letters(project, letters) if ready else 0
    if as_json:
        left = [{"position": _position(letter), "why": why} for letter, why in passed]
        print_json({"sent": sent, "passed_over": left})
    else:
        console.print(
            f"Sent back {sent:,} dead letters." if sent else "There is nothing to send back.", highlight=False
        )


def _position(letter: DeadLetter) -> str:
    return f"{letter.topic}[{letter.partition}]@{letter.offset}"


def _replayed_at(letter: DeadLetter) -> str | None:
    return None if letter.replayed_at_ms is None else iso_time(letter.replayed_at_ms * 1000)


def _shown_value(letter: DeadLetter) -> str | None:
    whole, value = letter.whole_value, letter.value
    if value is None:
        return None
    beginning = _text(value[:_BYTES_SHOWN])
    if whole is not None:
        return f"{beginning}… (cut: {whole.size:,} bytes, sha256 {whole.sha256[:16]}…)"
    return beginning if len(value) <= _BYTES_SHOWN else f"{beginning}… ({len(value):,} bytes; --json shows all)"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
