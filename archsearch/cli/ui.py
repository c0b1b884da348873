"""``archsearch ui``: a what-if page in the browser, or a stored study in optuna-dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import note, print_json


def ui(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="What the page starts from: a preset, a config.json or a YAML.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", "-g", metavar="GPU", help="The GPU that the page starts with.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; this machine alone by default.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0: any (8421, or the next).")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Turn a model's dimensions in the browser and see what it costs."""
    from archsearch.ui.serve import free_port, is_loopback, open_browser, require_page, serve_what_if, url_of
    from archsearch.ui.state import check_start

    require_page()
    check_start(model, hardware)
    chosen = free_port(host, port)
    url = url_of(host, chosen)
    if not is_loopback(host):
        note(f"--host {host}: whoever reaches this machine can open this page; leave --host out to keep it to yourself")
    if json:
        print_json({"url": url})
    else:
        print(url)
    note("serving until interrupted (Ctrl-C)")
    if browser:
        open_browser(url)
    serve_what_if(model, hardware, host, chosen)
    note("stopped")
