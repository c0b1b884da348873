"""A stored study in optuna-dashboard: our notes and files kept with it, then served until interrupted."""

from __future__ import annotations

import re
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from archsearch.errors import ArchSearchError, UnknownNameError, UnsupportedError
from archsearch.models.registry.families import preset_family
from archsearch.search.answers.recommend import recommendation
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.studies.artifacts import upload
from archsearch.search.studies.places import artifacts_dir
from archsearch.search.studies.storage import load_study
from archsearch.search.studies.study_contents import study_result
from archsearch.ui.serve import names_of
from archsearch.ui.study_notes import SIGNED, ranks_of, study_note, trial_notes

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    import optuna

TOP = 5
"""How many recommended architectures get files."""
FilesOf = Callable[[SearchResult], Mapping[str, str]]
"""From a recommendation its architectures as files, by name."""


def require_dashboard() -> None:
    """Refuse to serve a study where optuna-dashboard is not installed.

    Raises:
        UnsupportedError: it is not there; the text says how to get it.
    """
    if find_spec("optuna_dashboard") is None:
        raise UnsupportedError("a study's page needs optuna-dashboard: pip install 'archsearch[dashboard]'")


def shown_study(name: str, storage: str | None) -> optuna.Study:
    """The study that is to be shown.

    Raises:
        UnknownNameError: no such study; the text lists near names, or says that the name is a model's.
        InvalidInputError: the storage cannot be opened.
    """
    try:
        return load_study(name, storage)
    except UnknownNameError as error:
        if preset_family(name) is None:
            raise
        told = f"unknown study {name!r}: it is a model, which `archsearch ui --model {name}` shows"
        raise UnknownNameError("study", name, error.near, reason=told.partition(": ")[2]) from None


def keep_notes(study: optuna.Study, storage: str | None, files_of: FilesOf) -> int:
    """Write notes and files of a study into its storage; returns how many trials have them.

    Notes that a user has written are left alone, and nothing is written that is there already.

    Raises:
        InvalidInputError: the study was not written by archsearch.
        OSError: its files cannot be written.
    """
    trials = study_result(study)
    if trials.frame.empty:
        return 0
    recommended = _recommended(study, storage)
    ranks = ranks_of(trials, recommended)
    notes = trial_notes(trials, recommended)
    _keep(study, study_note(study, recommended, {place: trial for trial, place in ranks.items()}))
    finished = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    for number, note in notes.items():
        _keep(_live(study, finished[number]), note)
    for name, text in ({} if recommended is None else files_of(recommended)).items():
        _keep_file(study, name, text, storage)
    return len(notes)


def _recommended(study: optuna.Study, storage: str | None) -> SearchResult | None:
    """What the study recommends; None where nothing in it is feasible."""
    try:
        return recommendation(study, storage=storage, top=TOP, progress=False)
    except ArchSearchError:
        return None


def _keep(of: optuna.Study | optuna.Trial, note: str) -> None:
    """A note of ours, unless it is there or the user has one."""
    from optuna_dashboard import get_note, save_note

    before = get_note(of)
    if before != note and (not before.strip() or SIGNED in before):
        save_note(of, note)


def _live(study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> optuna.Trial:
    """A finished trial as the dashboard's functions want it; its sampler writes nothing."""
    from optuna.samplers import RandomSampler
    from optuna.trial import Trial

    study.sampler = RandomSampler()
    return Trial(study, frozen._trial_id)


def _keep_file(study: optuna.Study, name: str, text: str, storage: str | None) -> None:
    """A file of the study (finished trials take none), unless it is there already."""
    from optuna.artifacts import get_all_artifact_meta

    directory = artifacts_dir(study.study_name, storage)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")  # artifacts are marked experimental
        for meta in get_all_artifact_meta(study):
            there = directory / meta.artifact_id
            if meta.filename == name and there.is_file() and there.read_text(encoding="utf-8") == text:
                return
        file = Path(scratch) / name
        file.write_text(text, encoding="utf-8")
        upload(study, storage, file)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request: a browser keeps several connections open."""

    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not worth a line each."""


def only_for(names: Sequence[str], application: WSGIApplication) -> WSGIApplication:
    """The application for requests that call this server by one of these names (``*``: by any), 400 for others."""

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        called = re.sub(r":\d+$", "", str(environ.get("HTTP_HOST", "")))
        if called in names or "*" in names:
            return application(environ, start_response)
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"this server is called by another name"]

    return checked


def serve_study(study: optuna.Study, storage: str | None, host: str, port: int) -> None:
    """Serve the study's storage in optuna-dashboard until interrupted."""
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    directory = artifacts_dir(study.study_name, storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        application = wsgi(study._storage, artifact_store=FileSystemArtifactStore(str(directory)))
    kind = _ServerV6 if ":" in host else _Server
    with (
        make_server(host, port, only_for(names_of(host), application), kind, _Quiet) as server,
        suppress(KeyboardInterrupt),
    ):
        server.serve_forever()


def path_of(study: optuna.Study) -> str:
    """Where the dashboard shows the study, from its address on."""
    return f"dashboard/studies/{study._study_id}"
