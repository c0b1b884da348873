"""The examples in docstrings say what happens."""

from __future__ import annotations

import doctest
import sys
from types import ModuleType

import pytest

import archsearch
from archsearch import plotting

THINGS = [getattr(archsearch, name) for name in archsearch.__all__] + [getattr(plotting, n) for n in plotting.__all__]
MODULES = {"archsearch", *(getattr(thing, "__module__", "archsearch") for thing in THINGS)} - {"builtins", "typing"}


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """Docstrings with examples of what a module defines, seen through what wraps it."""
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


WITH_EXAMPLES = sorted(name for name in MODULES if examples(sys.modules[name]))


def test_the_public_functions_that_compute_have_one():
    assert {"archsearch", "archsearch.api", "archsearch.differences", "archsearch.study_view"} <= set(WITH_EXAMPLES)
    (api,) = ([test.name for test in examples(sys.modules["archsearch.api"])],)
    assert set(api) == {f"archsearch.api.{name}" for name in ("enumerate_space", "estimate", "explain")}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    for test in examples(sys.modules[name]):
        told: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.append)
        assert result.attempted > 0
        assert result.failed == 0, "".join(told)
        assert not any("SKIP" in example.source for example in test.examples), test.name
