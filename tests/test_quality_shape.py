"""Laws that see shape: attention's own width, what is optimal, and the table verb on models of unusual heads."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from archsearch.errors import InvalidInputError
from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.quality import get_proxy, training_features
from archsearch.quality.features import (
    attention_parameters,
    attention_width,
    embedding_parameters,
    mlp_parameters,
    non_embedding_parameters,
)
from archsearch.quality.forms import effective_parameters, hollow
from archsearch.quality.laws import Law
from archsearch.quality.table import predict_frame, predict_table
from archsearch.workload import Workload

GPT = {"vocab_size": 50257, "gated_mlp": False, "positions": "learned", "tie_word_embeddings": True}


@pytest.mark.parametrize(
    "preset", ["gpt2", "llama-3-8b", "llama-3.2-1b", "mixtral-8x7b", "pythia-410m", "qwen3-0.6b", "modernbert-base"]
)
def test_parts_add_up_to_the_active_parameters(preset: str) -> None:
    """The families' own counts, which the tests of models hold against real modules; norms and biases are the rest."""
    config = load_preset(preset)
    parts = float(non_embedding_parameters(config) + embedding_parameters(config))
    assert 0.998 < parts / float(config.active_parameters()) <= 1.0


def test_attention_counts_by_its_own_width() -> None:
    # by hand: 2 layers, q and o 96 x 4*64, k and v 96 x 2*64, feed-forward 2 matrices of 96 x 384
    config = DecoderConfig(
        num_layers=2, hidden_size=96, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=384,
        **GPT,
    )  # fmt: skip
    assert float(attention_width(config)) == 256
    assert float(attention_parameters(config)) == 2 * (2 * 96 * 256 + 2 * 96 * 128)
    assert float(mlp_parameters(config)) == 2 * 2 * 96 * 384
    assert float(embedding_parameters(config)) == (50257 + 8192) * 96


@given(st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
def test_hollow_is_zero_at_its_optimum_and_positive_elsewhere(x: float, optimum: float) -> None:
    assert hollow(optimum, optimum) == 0
    assert hollow(x, optimum) >= 0


def constants() -> dict[str, float]:
    law = get_proxy("shape-aware")
    assert isinstance(law, Law)
    return law.record.constants


@given(st.floats(1e6, 1e10), st.floats(0.05, 20))
def test_effective_parameters_never_exceed_the_weights(total: float, ratio: float) -> None:
    features = {
        "attention_parameters": total / (1 + ratio),
        "mlp_parameters": total * ratio / (1 + ratio),
        "embedding_parameters": 0.0,
    }
    assert effective_parameters(constants(), features) <= total * (1 + 1e-9)


def test_effective_parameters_are_the_weights_at_the_optimum() -> None:
    c = constants()
    best = {
        "attention_parameters": 1e8 * c["attention_share"],
        "mlp_parameters": 1e8 * (1 - c["attention_share"]),
        "embedding_parameters": 3e7,
    }
    assert effective_parameters(c, best) == pytest.approx(1.3e8, rel=1e-12)


def test_substitution_towards_its_limits() -> None:
    """s = 1 is the plain sum; s -> 0 is the Cobb-Douglas product; neighbours of 0 agree with it."""
    c = {**constants(), "attention_share": 0.4}
    x = {"attention_parameters": 3e7, "mlp_parameters": 9e7, "embedding_parameters": 0.0}
    assert effective_parameters({**c, "substitution": 1.0}, x) == pytest.approx(1.2e8, rel=1e-12)
    product = (3e7 / 0.4) ** 0.4 * (9e7 / 0.6) ** 0.6
    assert effective_parameters({**c, "substitution": 0.0}, x) == pytest.approx(product, rel=1e-12)
    assert effective_parameters({**c, "substitution": 1e-6}, x) == pytest.approx(product, rel=1e-5)


@given(
    st.integers(4, 32), st.sampled_from([512, 1024, 2048]), st.integers(4, 32), st.integers(2, 8),
    st.sampled_from(["num_layers", "num_attention_heads", "intermediate_size"]),
)  # fmt: skip
def test_more_of_anything_helps_models_that_are_wide_enough(
    depth: int, width: int, heads: int, ratio: int, more: str
) -> None:
    """At a fixed hidden_size and token budget more layers, heads or feed-forward help."""
    fields = {"num_layers": depth, "hidden_size": width, "num_attention_heads": heads}
    fields["intermediate_size"] = ratio * width
    bigger = {**fields, more: 2 * fields[more]}
    weights = bigger["num_layers"] * width * (256 * bigger["num_attention_heads"] + 3 * bigger["intermediate_size"])
    assume(width / math.sqrt(weights) > constants()["width_optimum"])
    row = pd.DataFrame([fields, bigger]).assign(head_dim=64, vocab_size=50000)
    loss = predict_frame(row, family="decoder", tokens=1e10)["predicted_loss"]
    assert loss[1] < loss[0]


def test_depth_stops_helping_a_thin_model() -> None:
    """Beyond the critical depth more layers hurt (arXiv 2601.20994 finds the same at 64 layers)."""
    thin = pd.DataFrame({"num_layers": [16, 64, 1024, 4096]}).assign(
        hidden_size=128, num_attention_heads=2, head_dim=64, intermediate_size=512, vocab_size=1000
    )
    loss = predict_frame(thin, family="decoder", tokens=1e11)["predicted_loss"].tolist()
    assert loss[1] < loss[0]
    assert loss[3] > loss[2]


def test_published_retraining_of_llama_has_the_same_winner() -> None:
    """arXiv 2510.18245, table 1: the 1 B model at the optimal ratio has a loss 0.021 (3 B: 0.006) below LLaMA-3.2's.

    The paper's choices change the width as well, so that the ratio alone must give some of the gain and no more.
    """
    for layers, hidden, heads, kv, wide, head_dim, gain in (
        (16, 2048, 32, 8, 8192, 64, 0.021),
        (28, 3072, 24, 8, 8192, 128, 0.006),
    ):
        llama = DecoderConfig(
            num_layers=layers, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv,
            intermediate_size=wide, head_dim=head_dim, vocab_size=128256,
        )  # fmt: skip
        features = training_features(llama, get_proxy("shape-aware"), Workload(seq_len=1), {"tokens": 1e11})
        total = features["attention_parameters"] + features["mlp_parameters"]
        best = {**features, "attention_parameters": total / 2.055, "mlp_parameters": total * 1.055 / 2.055,
                "mlp_to_attention": 1.055}  # fmt: skip
        law = get_proxy("shape-aware")
        assert 0.25 * gain < float(law.predict(features).value - law.predict(best).value) < gain


SUPERNET = pd.DataFrame(
    {
        "num_layers": [10, 12, 12, 11],
        "hidden_size": [192, 192, 384, 768],
        "intermediate_size": [384, 768, 1152, 3072],
        "num_attention_heads": [4, 12, 8, 12],
        "head_dim": 64,
        "vocab_size": 50257,
        "family": "decoder",
    }
)


def test_heads_need_not_divide_the_width_and_gpt2s_vocabulary_means_its_feed_forward() -> None:
    result = predict_table(SUPERNET)
    law = get_proxy("shape-aware")
    for i, row in SUPERNET.iterrows():
        h, layers, f = float(row["hidden_size"]), float(row["num_layers"]), float(row["intermediate_size"])
        attention, mlp = layers * 4 * h * 64 * row["num_attention_heads"], layers * 2 * h * f
        features = {
            "attention_parameters": attention, "mlp_parameters": mlp, "embedding_parameters": (50257 + 8192) * h,
            "hidden_size": h, "non_embedding_parameters": attention + mlp, "mlp_to_attention": mlp / attention,
            "width_ratio": h / math.sqrt(attention + mlp),
        }  # fmt: skip
        features["tokens"] = 20 * law.size(features)  # type: ignore[attr-defined]
        assert result.frame.loc[i, "predicted_loss"] == pytest.approx(float(law.predict(features).value), rel=1e-12)
    assert "gated_mlp: False" in result.assumed
    odd = SUPERNET.drop(columns="head_dim").assign(num_attention_heads=[5, 7, 9, 11])
    assert "head_dim: hidden_size / num_attention_heads" in predict_table(odd).assumed


def test_heads_change_the_prediction_where_the_width_does_not() -> None:
    few, many = SUPERNET.assign(num_attention_heads=4), SUPERNET.assign(num_attention_heads=12)
    for proxy in ("shape-aware", "conditional", "chinchilla-besiroglu", "kaplan", "aspect-ratio", "ensemble"):
        assert (
            predict_frame(many, proxy=proxy)["predicted_loss"] < predict_frame(few, proxy=proxy)["predicted_loss"]
        ).all()


def test_means_over_unequal_layers_are_taken_by_laws_of_weights_alone() -> None:
    mean = SUPERNET.assign(num_attention_heads=[4.5, 8.25, 8.0, 11.5], intermediate_size=[400.5, 600.0, 1000.0, 2000.0])
    between = predict_frame(mean)["predicted_loss"]
    low = predict_frame(mean.assign(num_attention_heads=np.floor(mean["num_attention_heads"])))["predicted_loss"]
    assert (between <= low).all()
    with pytest.raises(InvalidInputError, match="whole models"):
        predict_frame(mean, proxy="chinchilla")
    with pytest.raises(InvalidInputError, match="positive"):
        predict_frame(mean.assign(num_attention_heads=[-1.5, 1, 1, 1]))


def test_columns_that_are_no_field_are_carried_along_and_named() -> None:
    result = predict_table(SUPERNET.assign(perplexity=[30.0, 28.0, 25.0, 20.0]))
    assert result.unread == ("perplexity",)
    assert result.frame["perplexity"].tolist() == [30.0, 28.0, 25.0, 20.0]


def test_no_head_width_means_attention_as_wide_as_the_model() -> None:
    row = SUPERNET.iloc[[3]]
    by_default = predict_frame(row.drop(columns="head_dim"))["predicted_loss"].iloc[0]
    assert by_default == pytest.approx(predict_frame(row.assign(head_dim=64))["predicted_loss"].iloc[0], rel=1e-12)
    assert math.isfinite(by_default)
