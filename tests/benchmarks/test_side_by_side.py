from __future__ import annotations

import json
from functools import partial

import pytest

from benchmarks.side_by_side import ROUNDS, Measure, Options, Report, Skipped, command_line, in_turns


def found(options: Options) -> Report:
    sides = {"ours": [2.0, 4.0, 3.0], "peer": [6.0], "another": [1.5]}
    measures = [
        Measure("join", "s", sides, "ours", "peer", target=3.0),
        Measure("records", "records/s", {"ours": [50_000.0], "peer": [10_000.0]}, "ours", "peer", more_is_better=True),
    ]
    return Report("example", {"events": 10, "rounds": options.rounds}, measures, ["a note"])


def test_ratio_says_how_many_times_better_the_median_of_ours_is() -> None:
    assert [measure.ratio for measure in found(Options()).measures] == [2.0, 5.0]


def test_sides_take_turns_at_being_first() -> None:
    ran: list[str] = []

    def side(name: str) -> int:
        ran.append(name)
        return len(ran)

    told = in_turns({"ours": partial(side, "ours"), "peer": partial(side, "peer")}, 2)
    assert told == {"ours": [1, 4], "peer": [2, 3]}
    assert ran == ["ours", "peer", "peer", "ours"]


def test_json_is_one_object_with_ratios_targets_and_every_round(capsys: pytest.CaptureFixture[str]) -> None:
    command_line("example", found, ["--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["benchmark"] == "example"
    assert told["ratios"] == {"join": 2.0, "records": 5.0}
    assert told["targets"] == {"join": 3.0}
    assert told["sizes"]["rounds"] == ROUNDS
    ours = told["measures"][0]["sides"]["ours"]
    assert ours == {"median": 3.0, "min": 2.0, "max": 4.0, "rounds": [2.0, 4.0, 3.0]}


def test_table_has_median_spread_ratio_and_whether_the_target_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    command_line("example", found, [])
    told = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in told[1:]] == [
        "join [s, less is better]",
        "ours 3 (2 – 4)",
        "peer 6 ours 2× (target 3×: MISSED)",
        "another 1.5 ours 0.5×",
        "records [records/s, more is better]",
        "ours 50,000",
        "peer 10,000 ours 5×",
        "Note: a note",
    ]


@pytest.mark.parametrize(
    ("arguments", "rounds"), [(["--quick"], 1), (["--quick", "--rounds", "2"], 2), (["--rounds", "7"], 7)]
)
def test_rounds_are_as_asked_for(arguments: list[str], rounds: int, capsys: pytest.CaptureFixture[str]) -> None:
    command_line("example", found, [*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["sizes"]["rounds"] == rounds


def test_own_options_arrive_with_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    given: list[Options] = []

    def run(options: Options) -> Report:
        given.append(options)
        return found(options)

    command_line("example", run, ["--broker", "b:1"], more=lambda parser: parser.add_argument("--broker"))
    assert given[0].more == {"broker": "b:1"}
    assert "a note" in capsys.readouterr().out


def test_what_cannot_run_here_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: Options) -> Report:
        why = "there is no redis-server"
        raise Skipped(why)

    command_line("example", run, [])
    assert capsys.readouterr().out == "skipped: there is no redis-server\n"
    command_line("example", run, ["--json"])
    assert json.loads(capsys.readouterr().out) == {
        "benchmark": "example",
        "skipped": "there is no redis-server",
        "ratios": {},
    }


@pytest.mark.parametrize("rounds", ["0", "-1", "many"])
def test_rounds_that_are_none_are_refused(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line("example", found, [f"--rounds={rounds}"])
    assert "is not a number from 1 up" in capsys.readouterr().err
