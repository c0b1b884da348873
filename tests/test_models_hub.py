"""Hub ids are read from the local cache alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from archsearch.cli.main import run as cli
from archsearch.errors import InvalidInputError
from archsearch.models.huggingface import to_hf
from archsearch.models.registry.families import load_preset
from archsearch.models.registry.hub import cached_config, is_hub_id
from archsearch.models.registry.load import load_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a pipeline and a language model, as huggingface_hub lays it out."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    parts = {"transformer": "flux1-dev", "vae": "flux-vae", "text_encoder": "clip-l-text"}
    for folder, preset in parts.items():
        _put(tmp_path / "models--lab--FLUX.1-dev", folder, preset)
    _put(tmp_path / "models--meta-llama--Llama-3.2-1B", "", "llama-3.2-1b")
    return tmp_path


def _put(repository: Path, folder: str, preset: str) -> None:
    path = repository / "snapshots" / REVISION / folder
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(to_hf(load_preset(preset))), encoding="utf-8")
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(REVISION, encoding="utf-8")


def test_the_layout_is_that_of_huggingface_hub(cache: Path) -> None:
    theirs = try_to_load_from_cache("lab/FLUX.1-dev", "vae/config.json", cache_dir=cache)
    assert cached_config("lab/FLUX.1-dev/vae") / "config.json" == Path(str(theirs))


@pytest.mark.parametrize(
    ("hub_id", "preset"),
    [
        ("lab/FLUX.1-dev", "flux1-dev"),
        ("lab/FLUX.1-dev/vae", "flux-vae"),
        ("lab/FLUX.1-dev/text_encoder", "clip-l-text"),
        ("meta-llama/Llama-3.2-1B", "llama-3.2-1b"),
    ],
)
def test_cached_models_are_read(cache: Path, hub_id: str, preset: str) -> None:
    assert load_model(hub_id).parameters() == load_preset(preset).parameters()


def test_a_single_revision_needs_no_main(cache: Path) -> None:
    repository = cache / "models--meta-llama--Llama-3.2-1B"
    (repository / "refs" / "main").unlink()
    assert load_model("meta-llama/Llama-3.2-1B") == load_model(str(repository / "snapshots" / REVISION))
    (repository / "snapshots" / "another").mkdir()
    with pytest.raises(InvalidInputError, match="holds 2 revisions"):
        load_model("meta-llama/Llama-3.2-1B")


def test_what_is_not_cached_is_refused(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["estimate", "lab/other", "-g", "H100"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "nothing is downloaded" in told
    assert "hf download lab/other" in told
    with pytest.raises(InvalidInputError, match="does not hold it"):
        load_model("meta-llama/Llama-3.2-1B/vae")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", True),
        ("a/b.1/c", True),
        ("./a/b", False),
        ("/a/b", False),
        ("a", False),
        ("../a", False),
        ("a//b", False),
    ],
)
def test_what_names_the_hub(text: str, expected: bool) -> None:
    assert is_hub_id(text) is expected
