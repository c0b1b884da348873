"""Errors carry the argument that they are about, and each front spells it in its own way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archsearch.cli.main import run
from archsearch.errors import AmbiguousNameError, ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.ranges import require_range


def test_an_error_names_its_fields_as_python_does() -> None:
    error = InvalidInputError("{steps} 4 and {lever} x both set the steps", field=("steps", "lever"))
    assert str(error) == "steps 4 and lever x both set the steps"
    assert (error.field, error.fields) == ("steps", ("steps", "lever"))
    assert error.spelled(str.upper) == "STEPS 4 and LEVER x both set the steps"


def test_braces_of_a_user_are_no_fields() -> None:
    error = InvalidInputError("{lever} '{steps}' is none", field="lever")
    assert error.spelled(lambda name: f"<{name}>") == "<lever> '{steps}' is none"
    assert InvalidInputError("{x}").field is None


def test_an_unknown_name_carries_its_field() -> None:
    assert UnknownNameError("dtype", "fp7", ["fp8"], field="dtype").field == "dtype"


def test_an_unknown_name_says_what_is_near_or_why_nothing_is() -> None:
    told = UnknownNameError("GPU", "h300", ["h100"], "(see --list)", near=(), reason="no such number")
    assert (str(told), told.near) == ("unknown GPU 'h300': no such number (see --list)", ())
    assert UnknownNameError("GPU", "h10", ["h100"]).near == ("h100",)
    assert UnknownNameError("GPU", "x", ["h100"], near=("y",)).near == ("y",)


def test_an_ambiguous_name_is_an_unknown_one_with_choices() -> None:
    several = AmbiguousNameError("GPU", "{a}", ["p", "q", "r"], field="hardware").about("x.csv")
    assert isinstance(several, UnknownNameError)
    assert str(several) == "x.csv: '{a}' may be p, q or r: say which"
    assert (several.near, several.field) == (("p", "q", "r"), "hardware")
    assert str(AmbiguousNameError("GPU", "a", ["p"])) == "'a' says too little to name a GPU: is it p?"


def test_the_command_line_adds_its_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", "gpt2", "-g", "h100-sxm", "--launch-us", "-3"]) == 2
    assert "--launch-us must be a number of microseconds from 0, not -3" in capsys.readouterr().err


@pytest.mark.parametrize("value", [1, 1.5, np.int64(2), np.float64(3.0), 4])
def test_a_number_in_range_passes(value: float) -> None:
    require_range("x", value, 1, 4)
    require_range("x", value, float(value), float(value))
    for low, high in ((0.5, np.nextafter(float(value), 0)), (np.nextafter(float(value), 9), 9)):
        with pytest.raises(InvalidInputError):
            require_range("x", value, low, high)


@pytest.mark.parametrize(
    ("value", "options", "told"),
    [
        (0, {"low": 1}, "x must be a number from 1, not 0"),
        (5, {"low": 1, "high": 4}, "x must be a number from 1 to 4, not 5"),
        (1.5, {"low": 1, "whole": True}, "x must be a whole number from 1, not 1.5"),
        (True, {"low": 0}, "x must be a number from 0, not True"),
        ("2", {"low": 0}, "x must be a number from 0, not 2"),
        (math.nan, {"low": 0}, "x must be a number from 0, not nan"),
        (math.inf, {"low": 0}, "x must be a number from 0, not inf"),
        (0, {"low": 0, "above": True, "unit": "watts"}, "x must be a number of watts above 0, not 0"),
        (1, {"low": 0, "high": 1, "below": True}, "x must be a number from 0 and below 1, not 1"),
        (2, {"low": 0, "high": 1, "above": True}, "x must be a number above 0 and at most 1, not 2"),
    ],
)
def test_a_number_out_of_range_is_refused(value: object, options: dict[str, float], told: str) -> None:
    low = options.pop("low")
    with pytest.raises(InvalidInputError) as error:
        require_range("x", value, low, **options)
    assert str(error.value) == told
    assert error.value.field == "x"


def test_errors_joined_or_placed_keep_what_they_are_about() -> None:
    one, other = UnsupportedError("{clock} is high", field="clock"), UnsupportedError("too large")
    both = ArchSearchError.joined([one, other, one])
    assert str(both) == "clock is high; too large"
    assert both.spelled("--{}".format) == "--clock is high; too large"
    placed = UnknownNameError("phase", "trian", ["train"], field="phase").about("a.yaml")
    assert type(placed) is UnknownNameError
    assert str(placed) == "a.yaml: unknown phase 'trian': did you mean train?"
    assert (placed.near, placed.field) == (("train",), "phase")
