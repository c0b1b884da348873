"""Is an object a quality proxy? A test class to subclass: name the proxy in a fixture, and pytest does the rest.

    import pytest
    from archsearch.testing.proxy_contract import ProxyContract

    class TestMyLaw(ProxyContract):
        @pytest.fixture
        def proxy(self) -> QualityProxy:
            return MyLaw()

The features of the tests lie in the middle of the proxy's ``valid`` ranges. A proxy whose features belong together in
another way overrides ``middle``. The tests need pytest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.quality.features import list_features
from archsearch.quality.proxy import Quality, QualityProxy, get_proxy, list_proxies

TYPICAL: Mapping[str, float] = {
    "parameters": 3e8,
    "non_embedding_parameters": 2.5e8,
    "embedding_parameters": 5e7,
    "attention_parameters": 1e8,
    "mlp_parameters": 1.5e8,
    "attention_width": 1024.0,
    "mlp_to_attention": 1.5,
    "width_ratio": 0.06,
    "aspect_ratio": 40.0,
    "num_layers": 24.0,
    "hidden_size": 1024.0,
    "head_dim": 64.0,
    "queries_per_kv": 1.0,
    "tokens": 1e10,
    "flops": 5e10,
    "image_tokens": 64.0,
    "vae_scale_factor": 8.0,
    "latent_channels": 16.0,
    "compression": 12.0,
}
"""Features of a middling model; where a proxy's range leaves one out, the middle of the range stands for it."""
FAR = 100.0
"""So many times beyond the valid range an answer has to be less sure."""
WIDER = 1.01
"""By at least this factor the interval of an extrapolation is wider."""
PARTS = ("value", "low", "high", "in_range")


class ProxyContract:
    """What archsearch needs of a quality proxy. A subclass has a fixture ``proxy``: the object."""

    def middle(self, proxy: QualityProxy) -> dict[str, float]:
        """Features that lie in the proxy's range."""
        features = {name: TYPICAL.get(name, 1.0) for name in proxy.features}
        for name, (low, high) in proxy.valid.items():
            inside = low <= features.get(name, math.nan) <= high
            features[name] = features[name] if inside else math.sqrt(low * high)
        return features

    def test_it_says_what_it_predicts_and_where_it_is_from(self, proxy: QualityProxy) -> None:
        assert isinstance(proxy, QualityProxy)
        for name in ("name", "metric", "unit", "description", "source"):
            text = getattr(proxy, name)
            assert isinstance(text, str), name
            assert text, name
        assert proxy.url.startswith("https://")
        assert proxy.direction in ("minimize", "maximize")
        assert proxy.families, "it speaks for no family"
        assert isinstance(proxy.assumed, bool)

    def test_it_reads_features_that_configs_have(self, proxy: QualityProxy) -> None:
        assert proxy.features, "it reads no feature"
        assert set(proxy.features) <= set(list_features())
        assert set(proxy.valid) <= set(proxy.features), "a range of a feature that it does not read"
        for name, (low, high) in proxy.valid.items():
            assert 0 <= low < high, name

    def test_its_name_is_its_own(self, proxy: QualityProxy) -> None:
        assert proxy.name not in list_proxies() or type(get_proxy(proxy.name)) is type(proxy)

    def test_the_interval_brackets_the_value(self, proxy: QualityProxy) -> None:
        answer = proxy.predict(self.middle(proxy))
        assert isinstance(answer, Quality)
        assert np.isfinite([answer.low, answer.value, answer.high]).all()
        assert answer.low < answer.value < answer.high
        assert bool(answer.in_range)

    def test_the_interval_widens_outside_the_range(self, proxy: QualityProxy) -> None:
        middle = self.middle(proxy)
        sure = proxy.predict(middle)
        for name, (low, high) in proxy.valid.items():
            above = proxy.predict({**middle, name: high * FAR})
            assert not bool(above.in_range), f"{name} = {high * FAR:g}"
            assert _share(above) > WIDER * _share(sure), f"{name} = {high * FAR:g}"
            if low > 0:
                below = proxy.predict({**middle, name: low / FAR})
                assert not bool(below.in_range), f"{name} = {low / FAR:g}"
                wider = _share(below) > WIDER * _share(sure) or _width(below) > WIDER * _width(sure)
                assert wider, f"{name} = {low / FAR:g}"

    def test_arrays_say_what_scalars_say(self, proxy: QualityProxy) -> None:
        columns = {name: value * np.array([0.9, 1.0, 1.2]) for name, value in self.middle(proxy).items()}
        many = proxy.predict(columns)
        for i in range(3):
            one = proxy.predict({name: float(column[i]) for name, column in columns.items()})
            for part in PARTS:
                got = np.broadcast_to(getattr(many, part), (3,))[i]
                np.testing.assert_allclose(got, getattr(one, part), rtol=1e-12, err_msg=f"{part} of {i}")

    def test_arrays_broadcast(self, proxy: QualityProxy) -> None:
        """A grid is given as columns along axes of their own; the answer has all axes that matter."""
        middle = self.middle(proxy)
        first, *others = middle
        rows = middle[first] * np.array([[1.0], [1.1]])
        columns = {name: middle[name] * np.array([[1.0, 1.05, 1.1]]) for name in others}
        answer = proxy.predict({first: rows, **columns})
        for part in PARTS:
            grid = np.broadcast_to(getattr(answer, part), (2, 3))
            for i in range(2):
                for j in range(3):
                    one = proxy.predict({first: rows[i, 0], **{name: c[0, j] for name, c in columns.items()}})
                    np.testing.assert_allclose(grid[i, j], getattr(one, part), rtol=1e-12, err_msg=part)

    def test_a_missing_feature_is_named_or_not_needed(self, proxy: QualityProxy) -> None:
        for name in proxy.features:
            for given in ({}, {name: None}):
                features = {k: v for k, v in self.middle(proxy).items() if k != name}
                told, answer = _told(proxy, {**features, **given})
                assert name in told if answer is None else np.isfinite(answer.value), f"without {name}"

    def test_what_is_not_positive_is_refused(self, proxy: QualityProxy) -> None:
        import pytest

        for name in proxy.features:
            for wrong in (0.0, -1.0, math.nan):
                with pytest.raises(InvalidInputError, match=name):
                    proxy.predict({**self.middle(proxy), name: wrong})


def _told(proxy: QualityProxy, features: Mapping[str, float | None]) -> tuple[str, Quality | None]:
    """What a proxy says of features that it refuses, or its answer."""
    try:
        return "", proxy.predict(features)
    except InvalidInputError as error:
        return str(error), None


def _width(answer: Quality) -> float:
    """Width of the interval in the metric's unit."""
    return float(answer.high - answer.low)


def _share(answer: Quality) -> float:
    """Width of the interval as a share of the value."""
    return _width(answer) / abs(float(answer.value))
