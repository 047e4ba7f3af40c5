"""Commands about the server's tokens: token create, token list, token revoke."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Annotated, Any

import typer

from headrace.cli.output import AsJson, Folder, command, console, note, print_json, table
from headrace.config import Permission, Project
from headrace.errors import ConfigError
from headrace.plan import read_plan
from headrace.times import iso_time

__all__ = ["create", "list_", "revoke", "token"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@command
def create(
    name: Annotated[str, typer.Argument(help="Who uses it: the name in the access log.")],
    may: Annotated[
        list[Permission], typer.Option("--may", help="What its owner may do; repeat for more.", show_default=False)
    ],
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="For which feature service; * is all. Repeat for more.", show_default=False),
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option("--view", help="For which view; * is all. Repeat for more.", show_default=False),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="How long it is valid, such as 12h, 30d or 8w; until revoked if left out.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Make a token for the server, and show it. It is shown only now: what is stored is a hash of it."""
    from headrace.serving.identity import Grant
    from headrace.serving.tokens import Tokens

    project = Project.load(folder)
    lifetime = None if expires is None else _length(expires)
    grant = Grant(frozenset(may), frozenset(service or ()), frozenset(view or ()))
    made, secret = Tokens(project.serve_state).create(name, grant, _now_us(), lifetime)
    if as_json:
        print_json({"token": secret, **_facts(made)})
        return
    typer.echo(secret)
    until = f"until {iso_time(made.expires_us)}" if made.expires_us is not None else "until it is revoked"
    note(f"The token of {name!r}, valid {until}. Keep it now: it cannot be shown again.")
    _note_unknown(project, grant.services, grant.views)


@command
def list_(as_json: AsJson = False, folder: Folder = None) -> None:
    """Show the server's tokens: what they permit, and whether they are valid. The tokens themselves are not kept."""
    from headrace.serving.tokens import Tokens

    found = [_facts(one) for one in Tokens(Project.load(folder).serve_state).read().values()]
    if as_json:
        print_json({"tokens": found})
        return
    columns = ["name", "id", "status", "may", "services", "views", "created", "expires"]
    rows = [[", ".join(one[key]) if isinstance(one[key], list) else one[key] for key in columns] for one in found]
    table("Tokens", columns, rows, whole=["name", "id"])
    if not found:
        note("`headrace token create NAME --may read-online --service SERVICE` makes one.")


@command
def revoke(
    name: Annotated[str, typer.Argument(help="The token's name or id.")],
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Revoke a token. Servers that run refuse it within seconds."""
    from headrace.serving.tokens import Tokens

    revoked = Tokens(Project.load(folder).serve_state).revoke(name, _now_us())
    if as_json:
        print_json({"revoked": [_facts(one) for one in revoked]})
    elif revoked:
        console.print(f"Revoked: {', '.join(f'{one.name} ({one.id})' for one in revoked)}", highlight=False)
    else:
        console.print(f"{name} was revoked before.", highlight=False)


def _facts(token: Any) -> dict[str, Any]:
    """A token for JSON, without its hash."""
    return {
        "name": token.name,
        "id": token.id,
        "status": token.status(_now_us()),
        "may": sorted(map(str, token.grant.may)),
        "services": sorted(token.grant.services),
        "views": sorted(token.grant.views),
        "created": iso_time(token.created_us),
        "expires": iso_time(token.expires_us),
        "revoked": iso_time(token.revoked_us),
    }


def _note_unknown(project: Project, services: frozenset[str], views: frozenset[str]) -> None:
    """Say which names the plan does not have: it may get them later, or the name is mistyped."""
    if not project.plan_file.exists():
        return
    plan = read_plan(project.plan_file)
    for kind, names, known in (("feature service", services, plan.services), ("view", views, plan.views)):
        unknown = sorted(names - set(known) - {"*"})
        if unknown:
            note(f"The plan has no {kind} {', '.join(unknown)} now. It has: {', '.join(known) or 'none'}.")


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})\s*([mhdw])", text.strip())
    if found is None:
        msg = f"--expires must be a length of time, not {text!r}."
        raise ConfigError(msg, hint="Write a number and one of m, h, d, w: --expires 30d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _now_us() -> int:
    return time.time_ns() // 1000


token = typer.Typer(
    help="Tokens of the server: make, list and revoke them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
token.command("create")(create)
token.command("list")(list_)
token.command("revoke")(revoke)
