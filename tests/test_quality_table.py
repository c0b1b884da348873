"""Quality of tables of architectures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.quality import get_proxy
from archsearch.quality.table import predict_frame

pytest_plugins = ("search_fakes",)
pytestmark = pytest.mark.usefixtures("toy_family")

TABLE = pd.DataFrame(
    {
        "hidden_size": [512, 1024, 2048],
        "num_layers": [4, 8, 16],
        "num_attention_heads": [8, 16, 32],
        "intermediate_size": [2048, 4096, 8192],
    },
    index=[5, 3, 9],
)


def parameters(row: pd.Series) -> float:
    h, f = float(row["hidden_size"]), float(row["intermediate_size"])
    return float(row["num_layers"]) * h * (4 * h + 2 * f) + 1024 * h


def test_rows_get_the_law_of_their_parameters() -> None:
    result = predict_frame(TABLE, family="decoder", proxy="chinchilla-besiroglu", tokens=1e11)
    law = get_proxy("chinchilla-besiroglu")
    for (_, row), (_, out) in zip(TABLE.iterrows(), result.iterrows(), strict=True):
        expected = law.predict({"parameters": parameters(row), "tokens": 1e11})
        assert out["predicted_loss"] == pytest.approx(float(expected.value), rel=1e-12)
        assert out["low"] < out["predicted_loss"] < out["high"]
    assert (result["proxy"] == law.name).all()
    assert result.index.tolist() == TABLE.index.tolist()


def test_tokens_column_and_the_default_ratio() -> None:
    law = get_proxy("chinchilla")
    given = predict_frame(TABLE.assign(tokens=[1e10, 2e10, 4e10]), family="decoder", proxy="chinchilla")
    default = predict_frame(TABLE, family="decoder", proxy="chinchilla")
    for index, tokens in zip(TABLE.index, (1e10, 2e10, 4e10), strict=True):
        n = parameters(TABLE.loc[index])
        assert given.loc[index, "predicted_loss"] == pytest.approx(
            float(law.predict({"parameters": n, "tokens": tokens}).value)
        )
        assert default.loc[index, "predicted_loss"] == pytest.approx(
            float(law.predict({"parameters": n, "tokens": 20 * n}).value)
        )


def test_family_column_groups_rows() -> None:
    whole = predict_frame(TABLE.assign(family="decoder"), proxy="chinchilla")
    alone = predict_frame(TABLE, family="decoder", proxy="chinchilla")
    np.testing.assert_array_equal(whole["predicted_loss"], alone["predicted_loss"])


def test_mistakes_are_told() -> None:
    with pytest.raises(InvalidInputError, match="family"):
        predict_frame(TABLE)
    with pytest.raises(InvalidInputError, match="no rows"):
        predict_frame(TABLE.iloc[:0], family="decoder")
    with pytest.raises(InvalidInputError, match="did you mean 'hidden_size'"):
        predict_frame(TABLE.rename(columns={"hidden_size": "hiden_size"}), family="decoder")
    with pytest.raises(InvalidInputError, match="hidden_size"):
        predict_frame(TABLE.drop(columns="hidden_size"), family="decoder", proxy="chinchilla")
    with pytest.raises(UnknownNameError, match="chinchilla"):
        predict_frame(TABLE, family="decoder", proxy="chinchila")
