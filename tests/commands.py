"""headrace's commands in tests: workers and brokers in processes of their own, the others in the test's process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from headrace.cli import app

__all__ = ["Commands", "Ended"]

PROCESSES = frozenset({"demo", "dev", "stream"})
"""Commands that must have a process: they start brokers or workers, or are killed. In the test's own process the others
cost milliseconds; a process begins with seconds of imports. tests/docs runs each of them as a process too."""

_LIMIT_S = 240


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it printed on standard output and standard error."""

    code: int
    out: str
    err: str


class Commands(ABC):
    """A project whose commands are run."""

    @property
    @abstractmethod
    def variables(self) -> dict[str, str]:
        """The environment variables that the commands get beside those of the test."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder that they are run in."""

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the commands."""
        return {**os.environ, **self.variables}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; the caller waits for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "headrace.cli", *arguments],
            env=self.environment,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        if arguments[0] not in PROCESSES:
            return self._run_here(arguments)
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=_LIMIT_S)
        return Ended(process.returncode, out, err)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command that ends with an exit code; what it printed."""
        ended = self.end(*arguments)
        assert ended.code == code, f"{arguments} ended with {ended.code}:\n{ended.out}\n{ended.err}"
        return ended.out + ended.err

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json; what it printed on standard output."""
        ended = self.end(*arguments, "--json")
        assert ended.code == code, f"{arguments} ended with {ended.code}:\n{ended.out}\n{ended.err}"
        return json.loads(ended.out)

    def _run_here(self, arguments: tuple[str, ...]) -> Ended:
        with contextlib.chdir(self.folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a command prints them; here they would be errors
            done = CliRunner().invoke(app, list(arguments), env=self.variables)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ended(done.exit_code, done.stdout, done.stderr)
