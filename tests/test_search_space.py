"""Space files, expressions and meshes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.search.space.expressions import Expression
from archsearch.search.space.space import SearchSpace, load_space, parse_space

pytest_plugins = ("search_fakes",)
NAMES = ("a", "b", "c")


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 3) -> str:
    """Random source text in the part of the language that Python itself evaluates the same way on ints."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from([*NAMES, "3", "7", "64"]))
    left, right = draw(arithmetic(depth=depth - 1)), draw(arithmetic(depth=depth - 1))
    form = draw(st.sampled_from(["({} + {})", "({} - {})", "({} * {})", "min({}, {})", "max({}, {})"]))
    return form.format(left, right)


@given(arithmetic(), st.lists(st.integers(1, 50), min_size=3, max_size=3))
def test_expressions_agree_with_python(text: str, numbers: list[int]) -> None:
    values = dict(zip(NAMES, numbers, strict=True))
    assert Expression.parse(text).evaluate(values) == eval(text, {"min": min, "max": max}, values)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("2 <= a < 4", [False, True, True, False]),
        ("a % 2 == 0 and not a == 4", [False, True, False, False]),
        ("a == 1 or a == 3", [True, False, True, False]),
        ("a // 2 != 1", [True, False, False, True]),
        ("12 / a > 5", [True, True, False, False]),
    ],
)
def test_conditions_are_elementwise(text: str, truth: list[bool]) -> None:
    np.testing.assert_array_equal(Expression.parse(text).evaluate({"a": np.array([1, 2, 3, 4])}), truth)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.__class__",
        "a.real",
        "open('x')",
        "min(a)",
        "min(*a, b)",
        "max(a, key=b)",
        "(lambda: 1)()",
        "[a for a in b]",
        "a[0]",
        "'text'",
        "f'{a}'",
        "a if b else c",
        "(a := 3)",
        "a ** 99999999",
        "__builtins__",
        "a @ b",
        "a << 3",
        "{a: b}",
        "a is b",
        "1j",
        "None",
        "",
        "a +",
        "import os",
        "a; b",
        "-" * 400 + "a" * 200,
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Expression.parse(text)


def test_refusal_gives_the_column() -> None:
    with pytest.raises(InvalidInputError, match="column 5"):
        Expression.parse("a + b.c")


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(InvalidInputError):
        Expression.parse("(" * 240 + "a" + ")" * 240)


def test_expression_keeps_only_its_axes() -> None:
    values = {
        "a": np.arange(3).reshape(3, 1, 1),
        "b": np.arange(4).reshape(1, 4, 1),
        "c": np.arange(5).reshape(1, 1, 5),
    }
    assert Expression.parse("a + c").evaluate(values).shape == (3, 1, 5)


def test_mesh_cells_decode_to_what_the_mesh_holds(toy_space: SearchSpace) -> None:
    mesh = np.broadcast_arrays(*toy_space.mesh().values())
    decoded = toy_space.decode(np.arange(toy_space.size))
    for name, whole in zip(toy_space.dimensions, mesh, strict=True):
        np.testing.assert_array_equal(whole.ravel(), decoded[name])
    listed = list(itertools.product(*(values.tolist() for values in toy_space.dimensions.values())))
    assert list(zip(*(decoded[name].tolist() for name in toy_space.dimensions), strict=True)) == listed
    np.testing.assert_array_equal(toy_space.encode(decoded), np.arange(toy_space.size))


@given(st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_chunks_tile_the_mesh(max_cells: int) -> None:
    space = SHARED["space"]
    seen: list[int] = []
    for window in space.chunks(max_cells):
        count = math.prod(cut.stop - cut.start for cut in window)
        assert count <= max_cells
        seen += space.window_cells(window, np.arange(count)).tolist()
    assert sorted(seen) == list(range(space.size))


SHARED: dict[str, SearchSpace] = {}


@pytest.fixture(autouse=True)
def _share(toy_space: SearchSpace) -> None:
    SHARED["space"] = toy_space


def test_derived_fields_follow_their_expressions(toy_space: SearchSpace) -> None:
    values = toy_space.field_values(toy_space.decode(np.arange(toy_space.size)))
    np.testing.assert_array_equal(values["num_attention_heads"], values["hidden_size"] // values["head_dim"])
    config = toy_space.config_dict({"hidden_size": 512, "num_layers": 2, "intermediate_size": 1024, "head_dim": 64})
    assert config["num_attention_heads"] == 8
    assert "head_dim" not in config
    assert config["vocab_size"] == 1024


def edited(toy_file: Path, old: str, new: str) -> Path:
    text = toy_file.read_text()
    assert old in text
    path = toy_file.with_name("edited.yaml")
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step: 128", "step: 100", r"edited.yaml:\d+: dimensions.hidden_size: .*step"),
        (
            "step: 128",
            "stride: 128",
            r"edited.yaml:\d+: dimensions.hidden_size.stride: unknown field; did you mean step",
        ),
        ("vocab_size: 1024", "vocab_size: 1000", r"fixed.vocab_size: 1000 not a multiple of 64"),
        ("hidden_size // head_dim", "hidden_size // head_dims", r"unknown field 'head_dims'"),
        ("hidden_size // head_dim", "hidden_size.real", r"edited.yaml:\d+: derived.*Attribute is not allowed"),
        ("dtype: fp16", "dtype: fp17", r"edited.yaml:\d+: workload.dtype: unknown dtype"),
        ("  vocab_size: 1024", "  vocab_sise: 1024", r"unknown decoder field 'vocab_sise'.*vocab_size"),
        ("metric: quality", "metric: beauty", r"edited.yaml:\d+: objectives"),
        ("parameters: [1.0e+6, 2.0e+7]", "parameters: [3.0e+7, 2.0e+7]", r"budget.*min"),
        ("name: toy", "nome: toy", r"edited.yaml:\d+: nome"),
        ("  vocab_size: 1024", "  vocab_size: 1024\n  num_layers: 3", r"num_layers.*both"),
        (
            "  num_attention_heads: hidden_size // head_dim",
            "  num_attention_heads: z\n  z: num_attention_heads",
            r"depend on each other",
        ),
    ],
)
def test_mistakes_name_file_line_and_field(toy_file: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ArchSearchError, match=message):
        parse_space(edited(toy_file, old, new))


def test_an_expression_is_refused_at_its_own_line(toy_file: Path) -> None:
    path = toy_file.with_name("edited.yaml")
    path.write_text(toy_file.read_text() + "references:\n  - a\n")
    text = path.read_text().replace("hidden_size // head_dim", "hidden_size.real")
    path.write_text(text)
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "hidden_size.real" in row)
    with pytest.raises(InvalidInputError, match=rf"edited\.yaml:{line}: derived\.num_attention_heads: expression"):
        parse_space(path)


def test_unknown_space_lists_near_names(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSEARCH_SPACES", str(toy_file.parent))
    assert load_space("toy").name == "toy"
    with pytest.raises(UnknownNameError, match="toy"):
        load_space("toi")


def test_missing_directory_of_spaces_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARCHSEARCH_SPACES", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInputError, match="nowhere"):
        load_space("toy")
