"""`headrace serve`: the server, until it is stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import Folder, command, console
from headrace.cli.worker_log import set_up_logging
from headrace.config import Project

__all__ = ["serve"]


@command
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65_535)] = 6566,
    workers: Annotated[int, typer.Option(help="How many processes answer requests.", min=1, max=256)] = 1,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="The certificate (PEM) to serve TLS with.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", help="Its key (PEM), if it is not in the same file.", show_default=False),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="NAME=VALUE, such as rows=1000; repeat for more.", show_default=False),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve everybody who reaches the address, without signing in.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything, with tracebacks.")] = False,
    folder: Folder = None,
) -> None:
    """Serve features over HTTP, until stopped. SIGHUP replaces the worker processes without a dropped request."""
    set_up = partial(set_up_logging, verbose=verbose)
    set_up()
    from headrace.serving.limits import Limits
    from headrace.serving.server import run_server
    from headrace.serving.settings import ServerSettings

    project = Project.load(folder)
    settings = ServerSettings(
        project=project.root,
        host=host,
        port=port,
        workers=workers,
        certificate_file=tls_cert,
        key_file=tls_key,
        insecure=insecure,
        limits=Limits().with_changes(limit or ()),
    )
    run_server(settings, set_up, _say_listening)


def _say_listening(url: str) -> None:
    console.print(f"Serving at {url} (Ctrl-C stops it).", highlight=False, soft_wrap=True)
