"""The laws of depth and heads: values by hand, what was measured of heads, monotony, and the fit repeated."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.quality import get_proxy
from archsearch.quality.laws import Law
from archsearch.quality.table import predict_frame

CHECKOUT = Path(__file__).parents[1]
SHARED = CHECKOUT.parent / "shared" / "quality_tables"


def constants(name: str = "depth-aware") -> dict[str, float]:
    law = get_proxy(name)
    assert isinstance(law, Law)
    return law.record.constants


def losses(proxy: str = "depth-aware", **columns: Any) -> list[float]:
    fields = {"hidden_size": 1024, "num_layers": 16, "head_dim": 64, "intermediate_size": 2816, "vocab_size": 50432}
    frame = pd.DataFrame({**fields, **columns})
    if "num_attention_heads" not in frame:
        frame["num_attention_heads"] = frame["hidden_size"] // frame["head_dim"]
    family = "encoder" if proxy.endswith("encoder") else "decoder"
    return list(predict_frame(frame, family=family, proxy=proxy, tokens=1e10)["predicted_loss"])


def test_a_value_by_hand() -> None:
    c = constants()
    attention, mlp, embedding = 6e7, 9e7, 4e7
    w, s = c["attention_share"], c["substitution"]
    size = (w * (attention / w) ** s + (1 - w) * (mlp / (1 - w)) ** s) ** (1 / s) + embedding
    loss = 1.8172 + 482.01 / size**0.3478 + 2085.43 / 1e10**0.3658
    depth = 1 + c["depth_weight"] * math.log(12 / c["depth_optimum"]) ** 2
    heads = 1 + c["head_weight"] * math.log(64 / 16) ** 2
    features = {
        "attention_parameters": attention, "mlp_parameters": mlp, "embedding_parameters": embedding, "tokens": 1e10,
        "num_layers": 12, "head_dim": 16, "non_embedding_parameters": 1.5e8, "mlp_to_attention": 1.5,
    }  # fmt: skip
    assert float(get_proxy("depth-aware").predict(features).value) == pytest.approx(loss * depth * heads, rel=1e-12)
    wide = {**features, "head_dim": 256}
    plain = loss * depth
    assert float(get_proxy("depth-aware").predict(wide).value) == pytest.approx(plain, rel=1e-12)
    penalty = 1 + constants("depth-aware-encoder")["wide_head_weight"] * math.log(4) ** 2
    assert float(get_proxy("depth-aware-encoder").predict(wide).value) == pytest.approx(plain * penalty, rel=1e-12)


def test_heads_of_decoders_in_the_measured_order() -> None:
    """openlm_grid: heads of 16 cost 0.21 nats against 48, of 28 to 40 0.04 against 64; 70 to 256 lie within 0.009."""
    loss = dict(zip((8, 16, 32, 64, 128, 256), losses(head_dim=[8, 16, 32, 64, 128, 256]), strict=True))
    assert loss[8] > loss[16] + 0.02
    assert loss[16] > loss[32] + 0.01
    assert loss[32] > loss[64] + 0.005
    assert loss[64] == pytest.approx(loss[128], abs=1e-9)
    assert loss[64] == pytest.approx(loss[256], abs=1e-9)


def test_heads_of_encoders_cost_on_both_sides() -> None:
    """Attention Is All You Need, table 3 A: perplexity 5.01, 4.92, 5.00 and 5.29 for heads of 16, 64, 128 and 512."""
    narrow, middle, wide, widest = losses("depth-aware-encoder", head_dim=[16, 64, 128, 512])
    measured = np.log([5.01, 4.92, 5.00, 5.29]) / math.log(4.92) - 1
    predicted = np.array([narrow, middle, wide, widest]) / middle - 1
    assert predicted[1] == 0
    assert np.all(np.abs(predicted - measured) < 0.008)
    assert widest > narrow > wide > middle


@settings(max_examples=30)
@given(
    st.integers(2, 36), st.sampled_from([512, 1024, 2048]), st.integers(1, 32), st.integers(1, 8),
    st.sampled_from(["num_layers", "num_attention_heads", "intermediate_size"]),
)  # fmt: skip
def test_more_of_anything_helps_up_to_the_best_depth(depth: int, width: int, heads: int, ratio: int, more: str) -> None:
    fields = {"num_layers": depth, "num_attention_heads": heads, "intermediate_size": ratio * width}
    bigger = {**fields, more: min(2 * fields[more], 36) if more == "num_layers" else 2 * fields[more]}
    pairs: dict[str, Any] = {name: [fields[name], bigger[name]] for name in fields}
    less, greater = losses(hidden_size=width, **pairs)
    assert greater <= less
    assert (greater < less) == (bigger != fields)


def test_depth_counts_at_equal_width_and_weights() -> None:
    """One width and one count of weights: twice the layers of half the heads and feed-forward are better below 36."""
    shallow, deep = losses(
        hidden_size=1024, num_layers=[6, 12], num_attention_heads=[32, 16], intermediate_size=[5632, 2816]
    )
    assert deep < shallow
    assert losses(num_layers=[36, 2000])[1] > losses(num_layers=[36, 400])[1]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the tables lie beside a checkout")
def test_the_constants_are_the_fit_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CHECKOUT / "benchmarks")
    refit: Any = importlib.import_module("quality_refit")
    tables = [table for table in refit.load_tables(SHARED) if table.name in refit.NOISE]
    found = refit.fit(tables, tuple(refit.TERMS))
    for name, value in found.items():
        assert constants("depth-aware-encoder")[name] == pytest.approx(value, rel=0.02), name
    shared = [name for name in found if name != "wide_head_weight"]
    assert [constants()[name] for name in shared] == [constants("depth-aware-encoder")[name] for name in shared]
    assert constants()["wide_head_weight"] == 0
    found = refit.constants({name: constants("depth-aware-encoder")[name] for name in refit.TERMS})
    residual = refit.misfit(found, next(table for table in tables if table.name == "gemstones"))
    law = get_proxy("depth-aware")
    assert isinstance(law, Law)
    assert law.record.band.absolute == pytest.approx(math.hypot(0.038, 1.34 * residual), abs=5e-4)
    for table in tables:  # the script's law is the shipped one
        proxy = get_proxy("depth-aware" if table.kind == "decoder" else "depth-aware-encoder")
        np.testing.assert_allclose(refit.law_values(found, table), proxy.predict(table.features).value, rtol=1e-12)
