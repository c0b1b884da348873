"""``archsearch ui``: a what-if page in the browser, or a stored study in optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.options import Json, Profiles, Storage
from archsearch.cli.output import note, print_json

if TYPE_CHECKING:
    from archsearch.search.evaluate.result import SearchResult


def ui(
    study: Annotated[
        str | None, typer.Argument(help="A stored study, shown in optuna-dashboard; without one: what a model costs.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="What the page starts from: a preset, a config.json or a YAML.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", "-g", metavar="GPU", help="The GPU that the page starts with.")
    ] = None,
    storage: Storage = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; this machine alone by default.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option("--port", help="Port to listen on; 0: any (8421, or the next that is free).")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Turn a model's dimensions in the browser and see what it costs, or look through a stored study."""
    from archsearch.errors import InvalidInputError

    if study is None:
        _what_if(model, hardware, host, port, browser, json)
        return
    if model is not None or hardware is not None:
        raise InvalidInputError(f"{study} is shown as it was searched: leave out --model and --hardware, or the study")
    _study(study, storage, host, port, browser, json)


def _what_if(model: str | None, hardware: str | None, host: str, port: int | None, browser: bool, json: bool) -> None:
    from archsearch.ui.serve import free_port, require_page, serve_what_if, url_of
    from archsearch.ui.state import check_start

    require_page()
    check_start(model, hardware)
    chosen = free_port(host, port)
    _announce(url_of(host, chosen), host, browser, json)
    serve_what_if(model, hardware, host, chosen)
    note("stopped")


def _study(name: str, storage: str | None, host: str, port: int | None, browser: bool, json: bool) -> None:
    from archsearch.errors import ArchSearchError
    from archsearch.ui.dashboard import keep_notes, path_of, require_dashboard, serve_study, shown_study
    from archsearch.ui.serve import free_port, url_of

    require_dashboard()
    study = shown_study(name, storage)
    chosen = free_port(host, port)
    try:
        count = keep_notes(study, storage, _files)
        note(f"notes of {count} trials are kept with the study")
    except (ArchSearchError, OSError) as error:
        note(f"the study is shown without notes: {error}")
    _announce(url_of(host, chosen) + path_of(study), host, browser, json)
    serve_study(study, storage, host, chosen)
    note("stopped")


def _announce(url: str, host: str, browser: bool, json: bool) -> None:
    """Where the page is, who can open it, and how it ends."""
    from archsearch.ui.serve import is_loopback, open_browser

    if not is_loopback(host):
        note(f"--host {host}: whoever reaches this machine can open this page; leave --host out to keep it to yourself")
    if json:
        print_json({"url": url})
    else:
        print(url, flush=True)
    note("serving until interrupted (Ctrl-C)")
    if browser:
        open_browser(url)


def _files(recommended: SearchResult) -> Mapping[str, str]:
    """The recommended architectures as ``recommend --format yaml`` and ``hf`` print them, where they can be."""
    import json
    from contextlib import suppress

    import numpy as np

    from archsearch.cli.exports import hf_documents, yaml_text
    from archsearch.errors import UnsupportedError

    files: dict[str, str] = {}
    for row in range(len(recommended)):
        one = recommended.take(np.array([row]))
        with suppress(UnsupportedError):
            files[f"rank-{row + 1}.yaml"] = yaml_text(one)
            files[f"rank-{row + 1}.config.json"] = json.dumps(hf_documents(one), indent=2) + "\n"
    return files
