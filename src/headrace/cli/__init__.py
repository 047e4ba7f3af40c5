"""The command line: `headrace`."""

from __future__ import annotations

import typer

from headrace.cli import audit, forget, handoff, ingest, log, project, read, run
from headrace.cli.demo import demo
from headrace.cli.output import command
from headrace.produce.command import produce_command

__all__ = ["app", "main"]

app = typer.Typer(
    name="headrace",
    help="A streaming feature store: fresh online features and training data that provably agree.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 called wrongly, 3 a check found a difference, 4 away just now: try again.",
)
dataset = typer.Typer(help="Training sets: build them, and prove that they can be built again.", no_args_is_help=True)

app.command("init")(project.init)
app.command("apply")(project.apply)
app.command("plan")(project.plan)
app.command("dev")(run.dev)
app.command("produce")(command(produce_command))
app.command("stream")(run.stream)
app.command("lookup")(read.lookup)
app.command("history")(read.history)
app.add_typer(dataset, name="dataset")
dataset.command("build")(read.build)
dataset.command("verify")(read.verify)
app.command("status")(run.status)
app.command("deadletters")(run.deadletters)
audit.register(app)
forget.register(app)
handoff.register(app)
ingest.register(app)
log.register(app)
app.command("demo")(demo)


def main() -> None:
    """Run the command line."""
    app()
