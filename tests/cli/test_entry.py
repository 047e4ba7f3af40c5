"""How a run begins and ends, as a user's shell sees it: quick, quiet, line by line, and interrupted at any moment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.plan import write_plan
from headrace.state import LocalState
from tests.plan.examples import PLAN

HEADRACE = [sys.executable, "-m", "headrace"]
HELP_S = 0.4
"""CPU time that `headrace --help` may take; measured: 0.16 s."""
HEAVY = ["aiokafka", "confluent_kafka", "deltalake", "duckdb", "faust", "feast", "kafka", "lmdb"]
HEAVY += ["numpy", "pandas", "pyarrow", "pydantic", "redis", "rich.console", "rich.markdown"]


def cpu_seconds(*arguments: str) -> float:
    """The CPU time of a command, by which a busy machine does not change it much; the best of three."""
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*HEADRACE, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if best < HELP_S:
            break
    return best


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_takes_little_time(arguments: list[str]) -> None:
    assert cpu_seconds(*arguments) < HELP_S


def loaded(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "headrace", *arguments], capture_output=True, text=True, check=False
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}


def test_help_imports_no_command_and_no_library_but_typer() -> None:
    modules = loaded("--help")
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY)
    ours = {name.removeprefix("headrace.") for name in modules if name.startswith("headrace.")}
    assert ours == {"cli", "cli.interrupts", "cli.entry", "cli.commands", "errors"}


def test_status_asks_no_engine_for_its_help() -> None:
    assert loaded("status", "--help").isdisjoint(["faust", "feast", "pandas", "deltalake", "duckdb", "kafka"])


QUICK = [
    "headrace.cli.entry",
    "headrace.cli.commands",
    "typer.core",
    "headrace.cli.definition_commands",
    "headrace.config",
]
NEEDS_FEAST = ["headrace.declare", "pandas", "services"]


@pytest.mark.parametrize("module", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in NEEDS_FEAST)])
def test_interrupt_at_any_moment_is_one_line(module: str, tmp_path: Path) -> None:
    """The interrupt comes while `plan` imports a module: at the start, of a library, and of the user's feature repo."""
    program = (
        f"AT = {module!r}\n"
        "import signal, sys; from headrace.cli import main\n"
        "class Interrupt:\n"
        "    @staticmethod\n"
        "    def find_spec(name, *_):\n"
        "        if name == AT:\n"
        "            sys.meta_path.remove(Interrupt); signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "plan"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HEADRACE_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n"), done.stdout


def test_interrupt_during_the_last_import_ends_as_any_other() -> None:
    program = (
        "import signal, sys; from headrace.cli import interrupts\n"
        "interrupts.end_at_once(); interrupts.raise_while_working()\n"
        "def find_spec(*_): sys.meta_path.pop(0); signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, type('Finder', (), {'find_spec': staticmethod(find_spec)}))\n"
        "import wave\n"
        "interrupts.end_at_once()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_is_piped_flows_line_by_line() -> None:
    program = (
        "import sys; from headrace.cli import entry, commands; import threading\n"
        "commands.app = lambda **_: (sys.stdout.write('first\\n'), threading.Event().wait(60))\n"
        "entry.run()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "first\n"
        running.kill()


def test_libraries_warnings_do_not_reach_the_terminal_and_ours_do() -> None:
    program = (
        "import warnings; from headrace.cli import entry, commands; from headrace.errors import HeadraceWarning\n"
        "def app(**_):\n"
        "    warnings.warn('not for users', FutureWarning)\n"
        "    warnings.warn(HeadraceWarning('for users'))\n"
        "commands.app = app\n"
        "entry.run()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: for users\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_output_that_does_not_fit_the_disk_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    write_plan(PLAN, LocalState(tmp_path / ".headrace").file("plan.json"))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HEADRACE, "list"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (4, "error: No space left on device.\n")


def test_reader_that_leaves_is_no_error_to_tell(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    write_plan(PLAN, LocalState(tmp_path / ".headrace").file("plan.json"))
    with subprocess.Popen(
        [*HEADRACE, "list"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == ""


def test_terminal_without_our_characters_shows_escapes() -> None:
    done = subprocess.run(
        [*HEADRACE, "status"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd="/",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"\\u2192" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_plan_takes_little_more_than_feasts_own_import(tmp_path: Path) -> None:
    """Feast's import is measured beside it, by CPU time, because machines and their load differ."""

    def child_seconds(command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "HEADRACE_STATE": str(tmp_path)}
        subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    feast = [sys.executable, "-c", "import feast.repo_operations, feast.infra.offline_stores.dask"]
    ratios = []
    for _ in range(3):
        ratios.append(child_seconds([*HEADRACE, "plan"]) / child_seconds(feast))
        if ratios[-1] < 1.5:
            break
    assert min(ratios) < 1.5, ratios
