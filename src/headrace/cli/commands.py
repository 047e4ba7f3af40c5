"""The commands by name. Each is imported when it is called.

`headrace --help`, completion and the suggestion for a mistyped name need only the names and a line for each. These are
here, so no command is imported for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from headrace import __version__

__all__ = ["COMMANDS", "app"]


class Entry(NamedTuple):
    """The place of a command (a function, or a Typer application of several) and its line in the help."""

    where: str
    does: str


COMMANDS = {
    "init": Entry("definition_commands:init", "Start a project: a small working one to change."),
    "apply": Entry("definition_commands:apply", "Register the definitions with Feast and compile the plan."),
    "plan": Entry("definition_commands:plan", "Show what `apply` would change."),
    "list": Entry("show:list_", "Show what is declared: sources, views, services, datasets."),
    "show": Entry("show:show", "Explain one of them: windows, size, freshness, versions."),
    "dev": Entry("run_commands:dev", "Run the embedded broker, for development."),
    "produce": Entry("run_commands:produce", "Replay a history of events into its Kafka topic."),
    "stream": Entry("run_commands:stream", "Run a worker: from Kafka into online store and log."),
    "serve": Entry("serve:serve", "Serve features over HTTP."),
    "lookup": Entry("feature_commands:lookup", "Look up one entity's features in the online store."),
    "history": Entry("feature_commands:history", "Compute features as they were, from the log."),
    "dataset": Entry("feature_commands:dataset", "Build training sets, and prove that they can be built again."),
    "health": Entry("health:health", "Check that a worker runs and moves, for health checks."),
    "status": Entry("status:status", "Show how far each source partition is."),
    "deadletters": Entry("dead_letters:deadletters", "Show events that could not be used, or send them back."),
    "audit": Entry("audit:audit", "Recompute recorded lookups from the log, and compare."),
    "forget": Entry("forget:forget", "Erase an entity permanently."),
    "backfill": Entry("backfill:backfill", "Build a new or changed view from the log, and serve it."),
    "rollback": Entry("backfill:rollback", "Serve the version that a view had before."),
    "materialize": Entry("materialize:materialize", "Write batch views' newest rows to the online store."),
    "import": Entry("import_history:import_", "Load existing history into the log."),
    "log": Entry("log:log", "Show and maintain the log's files."),
    "token": Entry("tokens:token", "Make, list and revoke tokens of the server."),
    "reset": Entry("reset:reset", "Empty online store and log, to start from nothing."),
    "demo": Entry("demo:demo", "Run everything on the embedded broker, with a proof at the end."),
}


class Commands(TyperGroup):
    """The commands, each imported when it is called."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """Import the command that the arguments begin with."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, None if found is None else _load(str(name)), rest

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the arguments before the command's name."""
        ctx.obj = "--json" in args
        with _usage_errors_as_json(ctx.obj):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        with _usage_errors_as_json(ctx.obj):
            return super().invoke(ctx)


@contextmanager
def _usage_errors_as_json(wanted: bool) -> Iterator[None]:
    """Print a wrong call as JSON on standard output too, where JSON is wanted."""
    try:
        yield
    except TyperException as error:
        if wanted:
            failure = {"error": error.format_message(), "hint": None, "kind": "usage", "exit_code": error.exit_code}
            typer.echo(json.dumps(failure))
        raise


def _load(name: str) -> TyperCommand | TyperGroup:
    module, _, attribute = COMMANDS[name].where.partition(":")
    found = getattr(import_module(f"headrace.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(found)
        found = alone
    command: TyperCommand | TyperGroup = typer.main.get_command(found)  # type: ignore[assignment]
    return command


app = typer.Typer(
    name="headrace",
    cls=Commands,
    help="A streaming feature store: fresh online features and training data that provably agree.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich's coloured help takes twice as long as everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit codes: 0 done, 1 failed, 2 called wrongly, 3 a check found a difference, "
        "4 not available now: try again, 130 interrupted."
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and end.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


for _name, _entry in COMMANDS.items():
    app.command(_name, help=_entry.does)(lambda: None)
