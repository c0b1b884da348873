"""The interface of quality proxies, and the register that finds them by name; it knows no proxy itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import Flags, Floats, as_float
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.quality.modalities import default_name

Features = Mapping[str, ArrayLike | None]
"""Features of architectures by name, numbers or arrays that broadcast; None where one is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Expected quality: ``value`` with an 80 % interval from ``low`` to ``high``; arrays broadcast like the features
    that gave them.

    ``in_range`` is False where the law had to extrapolate; its interval is wider there.
    """

    value: Floats
    low: Floats
    high: Floats
    in_range: Flags


@runtime_checkable
class QualityProxy(Protocol):
    """A law from features of an architecture to a quality metric, array-valued.

    ``features`` names what ``predict`` reads (``archsearch.quality.features`` computes them from a config);
    ``direction`` says which way is better; ``families`` for which model families it speaks; ``assumed`` marks a law
    borrowed from another setting, good for ranking only; ``valid`` gives (low, high) of features in its source;
    ``description`` is a line for lists.
    """

    @property
    def name(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def direction(self) -> str: ...

    @property
    def features(self) -> tuple[str, ...]: ...

    @property
    def families(self) -> tuple[str, ...]: ...

    @property
    def valid(self) -> Mapping[str, tuple[float, float]]: ...

    @property
    def description(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def assumed(self) -> bool: ...

    def predict(self, features: Features) -> Quality:
        """Expected quality of arrays (or scalars) of features.

        Raises:
            InvalidInputError: a needed feature is missing or not positive.
        """


_SHIPPED: list[Callable[[], Mapping[str, QualityProxy]]] = []
_REGISTERED: dict[str, QualityProxy] = {}


def register_proxy(proxy: QualityProxy) -> None:
    """Make a proxy known by its name, for spaces and the command line, in this process.

    Args:
        proxy: an object with the attributes of ``QualityProxy``.

    Raises:
        InvalidInputError: the name is taken.
    """
    if proxy.name in list_proxies():
        raise InvalidInputError(f"quality proxy {proxy.name!r} exists already; choose another name")
    _REGISTERED[proxy.name] = proxy


def ship_proxies(source: Callable[[], Mapping[str, QualityProxy]]) -> None:
    """Make archsearch's own proxies known; ``source`` gives them by name and is called when a name is first asked for,
    so that files are read only then. ``archsearch/quality/__init__.py`` is the one place that calls it."""
    _SHIPPED.append(source)


def _known() -> dict[str, QualityProxy]:
    """Every proxy by name: archsearch's own, and what was registered."""
    shipped = {name: proxy for source in _SHIPPED for name, proxy in source().items()}
    return {**shipped, **_REGISTERED}


def list_proxies() -> list[str]:
    """The proxies: the published laws and what was registered.

    Returns:
        Their names, in order.
    """
    return sorted(_known())


def get_proxy(name: str) -> QualityProxy:
    """A proxy by name.

    Args:
        name: one of ``list_proxies``.

    Returns:
        The law; ``predict`` gives its quality.

    Raises:
        UnknownNameError: no such proxy; the text lists near names.
    """
    proxy = _known().get(name)
    if proxy is None:
        raise UnknownNameError("quality proxy", name, list_proxies())
    return proxy


def default_proxy(family: str) -> QualityProxy:
    """The proxy used for a family when none is named.

    Raises:
        InvalidInputError: no proxy speaks for the family.
    """
    name = default_name(family)
    if name is not None:
        return get_proxy(name)
    for proxy in _REGISTERED.values():
        if family in proxy.families:
            return proxy
    raise InvalidInputError(f"no quality proxy speaks for family {family!r}; proxies: {', '.join(list_proxies())}")


def positive_feature(proxy: str, features: Features, name: str) -> Floats:
    """A feature that a proxy needs.

    Raises:
        InvalidInputError: it is missing or not positive.
    """
    given = features.get(name)
    if given is None:
        raise InvalidInputError(f"quality proxy {proxy!r} needs {name!r}; it was not given")
    value = as_float(given)
    if not np.all(value > 0):
        raise InvalidInputError(f"quality proxy {proxy!r}: {name} must be positive")
    return value
