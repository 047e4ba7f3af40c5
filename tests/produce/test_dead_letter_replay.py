"""Dead letters go back to their topics with their original bytes, once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.events.dead_letter import DeadLetter
from headrace.kafka import KafkaConnection
from headrace.plan import Plan, Source, write_plan
from headrace.produce import read_dead_letters, replay_dead_letters, why_not_replayed
from tests.produce.test_dead_letter_reader import letter, write

pytestmark = pytest.mark.kafka

Records = Callable[[str], dict[int, list[Any]]]


@pytest.fixture
def project(tmp_path: Path, broker: str, source: Source) -> Project:
    (tmp_path / "headrace.toml").write_text(f'[headrace]\nbroker = "{broker}"\n')
    project = Project.load(tmp_path)
    write_plan(Plan(project="test", sources={source.name: source}, views={}), project.plan_file)
    return project


def test_original_bytes_go_back_to_the_partition_they_came_from(
    project: Project, broker: str, source: Source, records: Records
) -> None:
    before_ms = time.time_ns() // 1_000_000
    sent = [letter(source.topic, 2, 4, value=b"\xff{"), letter(source.topic, 0, 7, key=None)]
    write(broker, sent)
    assert replay_dead_letters(project, read_dead_letters(KafkaConnection.of(broker), [source.topic])) == 2
    found = records(source.topic)
    assert [(one.key, one.value) for one in found[2]] == [(b"s1", b"\xff{")]
    assert [(one.key, one.value) for one in found[0]] == [(None, b"{broken")]
    assert before_ms <= found[2][0].timestamp <= time.time_ns() // 1_000_000  # it becomes known now


def test_original_headers_go_back_and_headraces_own_do_not(
    project: Project, broker: str, source: Source, records: Records
) -> None:
    headers = (("trace", b"1"), ("trace", b"\xff"), ("headrace.offset", b"7"))
    write(broker, [replace(letter(source.topic, 2, 4), headers=headers), letter(source.topic, 2, 5)])
    assert replay_dead_letters(project, read_dead_letters(KafkaConnection.of(broker), [source.topic])) == 2
    assert [tuple(one.headers) for one in records(source.topic)[2]] == [headers, ()]


@pytest.mark.slow
def test_second_replay_sends_nothing_twice_and_says_when_it_was_sent(
    project: Project, broker: str, source: Source, records: Records
) -> None:
    write(broker, [letter(source.topic, 1, 4)])
    letters = read_dead_letters(KafkaConnection.of(broker), [source.topic])
    assert replay_dead_letters(project, letters) == 1
    write(broker, [letter(source.topic, 1, 9)])
    again = read_dead_letters(KafkaConnection.of(broker), [source.topic])
    assert [one.offset for one in again] == [4, 9]
    assert again[0] == replace(letters[0], replayed_at_ms=again[0].replayed_at_ms)
    assert again[0].replayed_at_ms is not None
    assert replay_dead_letters(project, again) == 1
    assert len(records(source.topic)[1]) == 2
    assert replay_dead_letters(project, read_dead_letters(KafkaConnection.of(broker), [source.topic])) == 0


def test_position_of_a_topic_made_anew_is_another_letter(project: Project, broker: str, source: Source) -> None:
    write(broker, [letter(source.topic, 1, 4)])
    replay_dead_letters(project, read_dead_letters(KafkaConnection.of(broker), [source.topic]))
    write(broker, [replace(letter(source.topic, 1, 4), recorded_at_ms=9_000_000)])
    assert [why_not_replayed(one) is None for one in read_dead_letters(KafkaConnection.of(broker), [source.topic])] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (letter("t", 0, 1), None),
        (letter("t", 0, 1, value=None), "tombstone"),
        (letter("t", 0, 1, value=b"x" * 100).cut_to(10), "cut"),
        (replace(letter("t", 0, 1), replayed_at_ms=5), "before"),
        (letter("t.dlq", 0, 1), "no dead letter"),
    ],
)
def test_letter_that_cannot_go_back_is_said_why(one: DeadLetter, why: str | None) -> None:
    said = why_not_replayed(one)
    assert (said is None) if why is None else (said is not None and why in said)


# --- the command


def run(project: Project, *arguments: str, code: int = 0) -> Any:
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    done = runner.invoke(app, ["deadletters", *arguments, "--project", str(project.root)])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.output


def test_table_shows_the_beginning_of_a_long_value_and_json_all_of_it(
    project: Project, broker: str, source: Source
) -> None:
    write(broker, [letter(source.topic, 0, 1, value=b"x" * 5_000)])
    said = run(project)
    assert said.count("x") < 300
    assert "5,000 bytes" in " ".join(said.split())
    (found,) = run(project, "--json")["dead_letters"]
    assert found["value"] == "x" * 5_000


@pytest.mark.slow
def test_command_asks_sends_and_tells_what_it_left(
    project: Project, broker: str, source: Source, records: Records
) -> None:
    write(broker, [letter(source.topic, 0, 1), letter(source.topic, 0, 2, value=None), letter(source.topic, 0, 3)])
    assert "Nothing was changed" in run(project, "--replay", code=1)  # no terminal to ask at
    assert records(source.topic)[0] == []
    newest = run(project, "--replay", "--limit", "1", "--yes", "--json")
    assert newest == {"sent": 1, "passed_over": []}
    rest = run(project, "--replay", "--yes", "--json")
    assert rest["sent"] == 1
    assert [(one["position"], one["why"].split()[0]) for one in rest["passed_over"]] == [
        (f"{source.topic}[0]@2", "had"),
        (f"{source.topic}[0]@3", "was"),
    ]
    assert len(records(source.topic)[0]) == 2
    assert "nothing to send back" in run(project, "--replay", "--yes")
    assert "sent back" in run(project)
    assert [one["replayed_at"] is None for one in run(project, "--json")["dead_letters"]] == [False, True, False]
