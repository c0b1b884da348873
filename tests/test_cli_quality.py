"""``archsearch quality``: its contract for models, tables and lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from archsearch.cli.main import run
from archsearch.quality import list_proxies

TABLE = """num_layers,hidden_size,intermediate_size,num_attention_heads,head_dim,vocab_size,family,perplexity
10,192,384,4,64,50257,decoder,31.0
12,192,768,12,64,50257,decoder,28.5
12,768,3072,12,64,50257,decoder,20.1
11,384,1152,8,64,50257,decoder,24.4
"""


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "candidates.csv"
    path.write_text(TABLE)
    return path


def test_table_gets_loss_interval_and_proxy(capsys: pytest.CaptureFixture[str], table: Path, tmp_path: Path) -> None:
    target = tmp_path / "scored.csv"
    status, out, err = call(capsys, "quality", table, "--output", target)
    assert (status, out) == (0, "")
    assert "perplexity" in err
    assert "gated_mlp: False" in err
    scored = pd.read_csv(target)
    before = pd.read_csv(table)
    pd.testing.assert_frame_equal(scored[before.columns], before)
    assert (scored["low"] < scored["predicted_loss"]).all()
    assert (scored["predicted_loss"] < scored["high"]).all()
    assert set(scored["proxy"]) == {"shape-aware"}
    assert scored["predicted_loss"].rank().tolist() == before["perplexity"].rank().tolist()


@pytest.mark.parametrize(
    "proxy", ["chinchilla", "chinchilla-besiroglu", "kaplan", "aspect-ratio", "conditional", "ensemble"]
)
def test_every_language_proxy_scores_a_table(capsys: pytest.CaptureFixture[str], table: Path, proxy: str) -> None:
    status, out, _ = call(capsys, "quality", table, "--proxy", proxy, "--json")
    assert status == 0
    rows = json.loads(out)["rows"]
    assert [row["proxy"] for row in rows] == [proxy] * 4


def test_list_explains_every_proxy(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "quality", "--list", "--json")
    assert status == 0
    listed = {row["name"]: row for row in json.loads(out)}
    assert sorted(listed) == list_proxies()
    for row in listed.values():
        assert row["description"]
        assert row["source"]
        assert row["url"].startswith("https://")
        assert row["valid"]
    status, out, _ = call(capsys, "quality", "--list")
    assert status == 0
    assert "default for decoder" in out


def test_model_tells_overtraining_serving_and_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(*arguments: object) -> Any:
        status, out, err = call(capsys, "quality", *arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    llama = answer("llama-3-8b", "--tokens", "15e12", "--inference-tokens", "1e13", "--proxy", "chinchilla-besiroglu")
    assert llama["overtraining"] == pytest.approx(15e12 / 8.03e9 / 20, rel=1e-3)
    assert llama["inference_optimum"]["saved"] > 0
    flux, sana = answer("flux1-dev"), answer("sana-1.6b")
    assert flux["reconstruction_psnr_db"] > sana["reconstruction_psnr_db"]
    guided = answer("sana-1.6b", "--guidance", "cfg")
    assert guided["predicted_fid"] == sana["predicted_fid"]  # how its figure was measured
    assert guided["sampling"]["ratio"] == 1
    unguided = answer("sana-1.6b", "--guidance", "none")
    assert unguided["predicted_fid"] is None
    assert "nothing is known beyond" in unguided["sampling"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["llama-3-8b", "--proxy", "chinchila"], "chinchilla"),
        (["llama-3-8b", "--tokens", "-1"], "--tokens"),
        (["llama-3-8b", "--train"], "FILE.csv"),
        (["dit-xl-2", "--proxy", "shape-aware"], "shape-aware"),
        (["dit-xl-2", "--proxy", "latent-diffusion-fid", "--guidance", "loud"], "loud"),
        (["FILE", "--inference-tokens", "1e9"], "one MODEL"),
        (["FILE", "--train", "--device", "tpu"], "tpu"),
        (["FILE", "--train", "--train-steps", "3"], "too few"),
        ([], "--list"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], table: Path, arguments: list[str], told: str
) -> None:
    status, out, err = call(capsys, "quality", *(table if a == "FILE" else a for a in arguments))
    assert status == 2
    assert out == ""
    assert told in err.strip().splitlines()[-1]
    assert "Traceback" not in err
