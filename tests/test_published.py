"""Published timings: complete rows, predictions of all, and their place on the accuracy page."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest

import archsearch
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset, preset_names

ROOT = Path(__file__).parents[1]
SCOPES = ("transformer", "pipeline", "vae-decode", "vae-encode", "model")


@pytest.fixture(scope="module")
def published() -> Any:
    spec = importlib.util.spec_from_file_location("published", ROOT / "benchmarks" / "published.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_complete(published: Any) -> None:
    timings, parts = published.load()
    assert len(timings) >= 20
    assert len({row["id"] for row in timings}) == len(timings)
    for row in timings:
        assert row["source"].startswith("https://"), row["id"]
        assert all(row[field] for field in ("published_as", "located", "notes")), row["id"]
        assert row["scope"] in SCOPES, row["id"]
        assert row["published_s"] > 0, row["id"]
        load_gpu(row["gpu"])
        load_preset(row["model"])
    for part in parts.values():
        named = {*part.get("text_encoders", {}), *([part["decoder"]] if "decoder" in part else [])}
        assert named <= set(preset_names())


def test_what_was_asked_for_is_there(published: Any) -> None:
    """FLUX.1-dev in 28 steps on H100 and L20, the tables of SANA's paper and of 2509.19222, and decoders."""
    rows = published.load()[0]
    flux = {row["gpu"] for row in rows if row["model"] == "flux1-dev" and row.get("steps") == 28}
    assert {"h100-sxm", "l20"} <= flux
    sana = {row["model"] for row in rows if "2410.10629" in row["source"]}
    assert {"sana-0.6b", "sana-1.6b", "pixart-sigma"} <= sana
    wan = {row["model"] for row in rows if "2509.19222" in row["source"]}
    assert {"wan2.1-14b", "wan2.1-1.3b"} <= wan
    assert "vae-decode" in {row["scope"] for row in rows}


def test_every_row_is_predicted(published: Any) -> None:
    frame = published.table()
    assert len(frame) == len(published.load()[0])
    assert frame["predicted_s"].map(math.isfinite).all()
    assert ((frame["low_s"] < frame["predicted_s"]) & (frame["predicted_s"] < frame["high_s"])).all()


def test_a_pipeline_is_its_parts(published: Any) -> None:
    """FLUX.1-dev compiled: 28 steps of the compiled transformer, and eager encoders and decoder once."""
    row = next(row for row in published.load()[0] if row["id"] == "flux1-dev-h100-xdit-compiled")
    square, release = {"height": 1024, "width": 1024}, {"torch": "2.4"}
    step = archsearch.estimate("flux1-dev", "h100-sxm", compiled=True, attention="fa2", **square, **release).latency_s
    rest = [
        archsearch.estimate("clip-l-text", "h100-sxm", seq_len=77, **release).latency_s,
        archsearch.estimate("t5-xxl-encoder", "h100-sxm", seq_len=512, **release).latency_s,
        archsearch.estimate("flux-vae", "h100-sxm", phase="decode", **square, **release).latency_s,
    ]
    assert published.predict(row)[0] == pytest.approx(28 * step + sum(rest))


def test_the_accuracy_page_holds_every_row(published: Any) -> None:
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    missing = [row["id"] for row in published.load()[0] if f"[{row['id']}]" not in page]
    assert not missing
