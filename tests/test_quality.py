"""Quality laws against published worked values and the tables they were fitted to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.models.registry.families import FAMILIES, get_family, load_preset
from archsearch.quality import default_proxy, get_proxy, register_proxy, training_features
from archsearch.quality.laws import Law
from archsearch.workload import Workload

t_quantile = student.ppf


def test_chinchilla_at_the_sizes_of_its_paper() -> None:
    # 70 B parameters on 1.4 T tokens: 406.4 / 70e9^0.34 = 0.0836, 410.7 / 1.4e12^0.28 = 0.1632 (by hand)
    law = get_proxy("chinchilla")
    assert law.predict({"parameters": 70e9, "tokens": 1.4e12}).value == pytest.approx(1.69 + 0.0836 + 0.1632, abs=5e-4)


def test_replication_prefers_about_twenty_tokens_per_parameter() -> None:
    # arXiv 2404.10102 reports an optimum near 20 tokens per parameter for its fit at Chinchilla's compute
    law = get_proxy("chinchilla-besiroglu")
    parameters = np.geomspace(1e9, 1e12, 4001)
    loss = law.predict({"parameters": parameters, "tokens": 5.76e23 / 6 / parameters}).value
    best = parameters[np.argmin(loss)]
    assert 10 < 5.76e23 / 6 / best**2 < 30


@pytest.mark.parametrize("name", ["dit-fid", "dit-fid-any-patch"])
def test_dit_laws_are_the_least_squares_fit_of_the_published_table(name: str) -> None:
    law = get_proxy(name)
    assert isinstance(law, Law)
    assert law.record.table is not None
    c = law.record.constants
    rows = [dict(zip(law.record.table.columns, row, strict=True)) for row in law.record.table.rows]
    rows = [row for row in rows if all(row[k] == v for k, v in law.record.select.items())]
    features = {
        "flops": np.array([2e9 * float(row["gmacs"]) for row in rows]),
        "parameters": np.array([1e6 * float(row["parameters_m"]) for row in rows]),
        "image_tokens": np.array([(32 / float(row["patch_size"])) ** 2 for row in rows]),
    }
    target = np.log([float(row["fid"]) for row in rows])
    one = np.ones(len(rows))
    if name == "dit-fid":
        keys, design = ("intercept", "flops"), np.stack([one, np.log(features["flops"])], axis=1)
    else:
        t, n = np.log(features["image_tokens"] / 64), np.log(features["parameters"] / 2e8)
        keys, design = ("intercept", "image_tokens", "parameters", "crossed"), np.stack([one, t, n, t * n], axis=1)
    fitted, *_ = np.linalg.lstsq(design, target, rcond=None)
    np.testing.assert_allclose([c[key] for key in keys], fitted, rtol=1e-4)
    residual = np.std(target - design @ fitted, ddof=design.shape[1])
    dof = len(rows) - design.shape[1]
    mean_leverage = design.shape[1] / len(rows)
    half = residual * t_quantile(0.9, dof) * np.sqrt(1 + mean_leverage)
    assert law.record.band.log == pytest.approx(half, rel=0.005)
    inside = law.predict(features)
    assert np.mean((np.exp(target) >= inside.low) & (np.exp(target) <= inside.high)) >= 0.75


@given(st.floats(1e8, 1e10), st.floats(1e10, 4e11), st.floats(1.01, 10))
def test_more_parameters_or_tokens_never_predict_a_worse_loss(n: float, d: float, factor: float) -> None:
    for name in ("chinchilla", "chinchilla-besiroglu", "chinchilla-encoder"):
        law = get_proxy(name)
        base = law.predict({"parameters": n, "tokens": d}).value
        assert law.predict({"parameters": n * factor, "tokens": d}).value < base
        assert law.predict({"parameters": n, "tokens": d * factor}).value < base


def test_extrapolation_widens_the_interval() -> None:
    law = get_proxy("chinchilla")
    near = law.predict({"parameters": 1e9, "tokens": 4e11})
    far = law.predict({"parameters": 1e9, "tokens": 4e13})
    assert far.high - far.low > near.high - near.low


def test_arrays_broadcast_as_open_meshes() -> None:
    value = (
        get_proxy("chinchilla")
        .predict({"parameters": np.array([[1e8], [1e9]]), "tokens": np.array([[1e10, 2e10, 3e10]])})
        .value
    )
    assert value.shape == (2, 3)


def test_mistakes_are_told() -> None:
    with pytest.raises(UnknownNameError, match="chinchilla"):
        get_proxy("chinchila")
    with pytest.raises(InvalidInputError, match="tokens"):
        get_proxy("chinchilla").predict({"parameters": 1e9})
    with pytest.raises(InvalidInputError, match="positive"):
        get_proxy("chinchilla").predict({"parameters": -1.0, "tokens": 1e9})
    with pytest.raises(ArchSearchError, match="no quality proxy"):
        default_proxy("knitting")
    with pytest.raises(InvalidInputError, match="exists"):
        register_proxy(get_proxy("chinchilla"))


def test_every_searchable_family_has_a_default_that_speaks_for_it() -> None:
    searchable = [family for family in FAMILIES if "vae" not in family and "autoencoder" not in family]
    assert len(searchable) >= 13
    for family in searchable:
        assert family in default_proxy(family).families
    assert default_proxy("encoder").assumed
    assert default_proxy("decoder").name == "shape-aware"


def test_kaplan_at_the_size_of_its_largest_model() -> None:
    # 1.5e9 parameters, data not limiting: (6.4e13 / 1.5e9)^0.076 by hand = exp(0.076 * ln 42666.7) = exp(0.81021)
    law = get_proxy("kaplan")
    assert law.predict({"non_embedding_parameters": 1.5e9, "tokens": 1e30}).value == pytest.approx(2.2484, abs=2e-3)


def test_dit_laws_of_compute_at_the_papers_check() -> None:
    # arXiv 2410.08184: 2.3943 C^-0.0273 at C = 1e21 is exp(ln 2.3943 - 0.0273 * 48.354) = exp(0.87309 - 1.32007)
    law = get_proxy("dit-loss")
    tokens = 1e21 / 6 / 1e9
    assert law.predict({"parameters": 1e9, "tokens": tokens}).value == pytest.approx(0.63956, abs=2e-4)
    # and without tokens C follows from N = 0.0009 C^0.5681: at C = 1e18 that is 0.0009 * exp(0.5681 * 41.447)
    size = 0.0009 * np.exp(0.5681 * np.log(1e18))
    free, given = (
        law.predict({"parameters": size}).value,
        law.predict({"parameters": size, "tokens": 1e18 / 6 / size}).value,
    )
    assert free == pytest.approx(given, rel=1e-9)


SEARCHED = {
    "decoder": "llama-3.2-1b", "encoder": "modernbert-base", "t5": "t5-base-encoder", "clip-text": "clip-l-text",
    "dit": "dit-b-2", "pixart": "pixart-sigma", "sana": "sana-1.6b", "sd3": "sd3-medium", "flux": "flux1-dev",
    "cogvideox": "cogvideox-2b", "wan": "wan2.1-1.3b", "ltx": "ltx-video-2b", "hunyuan-video": "hunyuan-video",
}  # fmt: skip


@pytest.mark.parametrize("family", SEARCHED)
def test_default_proxies_answer_arrays_of_their_family(family: str) -> None:
    """More layers are better under every family's default, computed for columns at once."""
    values = load_preset(SEARCHED[family]).to_dict()
    depth = values["num_layers"]
    config = get_family(family).from_dict({**values, "num_layers": np.array([depth, depth + 4])})
    proxy = default_proxy(family)
    sizes = {"height": 256, "width": 256} if family == "dit" else dict(config.default_sizes)
    answer = proxy.predict(training_features(config, proxy, Workload(**sizes), {}))
    assert np.shape(answer.value) == (2,)
    assert answer.value[1] < answer.value[0]
