"""Every proxy of ours keeps the contract that an outsider's can be checked with; and it catches those that do not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from archsearch.quality import Quality, QualityProxy, get_proxy, list_proxies
from archsearch.testing.proxy_contract import ProxyContract


class TestOurs(ProxyContract):
    @pytest.fixture(params=list_proxies())
    def proxy(self, request: pytest.FixtureRequest) -> QualityProxy:
        return get_proxy(request.param)


@dataclass(frozen=True)
class Guess:
    """A law that is sound: a power of the parameters with a band of 10 %, wider outside its range."""

    name: str = "guess"
    metric: str = "loss"
    unit: str = "nats"
    direction: str = "minimize"
    features: tuple[str, ...] = ("parameters", "tokens")
    families: tuple[str, ...] = ("decoder",)
    description: str = "a power law"
    source: str = "nobody"
    url: str = "https://example.org"
    assumed: bool = True
    fault: str = ""

    @property
    def valid(self):
        return {"parameters": (1e8, 1e9)}

    def predict(self, features) -> Quality:
        from archsearch.quality.proxy import positive_feature

        if self.fault == "takes anything":
            n, d = (np.asarray(features.get(name) or 1.0, float) for name in self.features)
        else:
            n, d = (positive_feature(self.name, features, name) for name in self.features)
        outside = np.maximum(np.log10(1e8 / n), 0) + np.maximum(np.log10(n / 1e9), 0)
        value = n**-0.1 * d**-0.1
        if self.fault == "scalars only":
            value = float(np.mean(n)) ** -0.1 * d**-0.1
        band = np.asarray(0.1 if self.fault == "always sure" else 0.1 * (1 + outside))
        if self.fault == "upside down":
            band = -band
        known = np.asarray(True) if self.fault == "knows everything" else outside == 0
        return Quality(value=value, low=value * (1 - band), high=value * (1 + band), in_range=known)


def broken(guess: Guess) -> set[str]:
    """The tests of the contract that a proxy fails."""
    contract = ProxyContract()
    failed = set()
    for name in dir(ProxyContract):
        if name.startswith("test_"):
            try:
                getattr(contract, name)(guess)
            except (Exception, pytest.fail.Exception):
                failed.add(name)
    return failed


def test_a_sound_law_passes() -> None:
    assert not broken(Guess())


@pytest.mark.parametrize(
    ("guess", "test"),
    [
        (Guess(fault="takes anything"), "test_what_is_not_positive_is_refused"),
        (Guess(fault="scalars only"), "test_arrays_say_what_scalars_say"),
        (Guess(fault="scalars only"), "test_arrays_broadcast"),
        (Guess(fault="always sure"), "test_the_interval_widens_outside_the_range"),
        (Guess(fault="knows everything"), "test_the_interval_widens_outside_the_range"),
        (Guess(fault="upside down"), "test_the_interval_brackets_the_value"),
        (replace(Guess(), url="a book"), "test_it_says_what_it_predicts_and_where_it_is_from"),
        (replace(Guess(), direction="less"), "test_it_says_what_it_predicts_and_where_it_is_from"),
        (replace(Guess(), families=()), "test_it_says_what_it_predicts_and_where_it_is_from"),
        (replace(Guess(), features=("parameters", "tokens", "luck")), "test_it_reads_features_that_configs_have"),
        (replace(Guess(), features=("tokens",)), "test_it_reads_features_that_configs_have"),
        (replace(Guess(), name="chinchilla"), "test_its_name_is_its_own"),
    ],
)
def test_the_contract_catches(guess: Guess, test: str) -> None:
    assert test in broken(guess)
