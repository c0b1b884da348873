"""An entry of the laws' files that says something false or nothing is refused, with the place and the legal words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from archsearch.errors import InvalidInputError
from archsearch.quality.forms import FORMS
from archsearch.quality.laws import LAW_FILES, LawRecord
from archsearch.yaml_records import parse_records

LAWS = Path(__file__).resolve().parents[1] / "archsearch" / "quality"
ENTRY = yaml.safe_load((LAWS / "laws.yaml").read_text(encoding="utf-8"))["chinchilla"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"constants": {"E": 1.7, "A": 406.4, "B": 410.7, "alfa": 0.34, "beta": 0.28}}, "constants lack alpha"),
        ({"constants": {**ENTRY["constants"], "gamma": 1.0}}, "constants have no gamma: form chinchilla has E, A"),
        ({"families": ["causal langage"]}, "did you mean causal language"),
        ({"valid": {"tokens": [5e11, 5e9]}}, "tokens: a range is two positive numbers, the lower first"),
        ({"url": "nowhere"}, "the address of the source"),
        ({"form": "chinchila"}, "form"),
        ({"band": {"absolute": 0.1, "log": 0.1}}, "give either 'absolute' or 'log'"),
        ({"band_source": None}, "band_source"),
        ({"source": "x"}, "law.source: unknown field"),
    ],
)
def test_a_false_entry_is_refused(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    file = tmp_path / "laws.yaml"
    file.write_text(yaml.safe_dump({"law": ENTRY | changes}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=told) as error:
        parse_records(LawRecord, file)
    assert str(error.value).startswith(f"{file}:")


@pytest.mark.parametrize("field", sorted(set(ENTRY)))
def test_every_field_has_to_be_stated(field: str, tmp_path: Path) -> None:
    file = tmp_path / "laws.yaml"
    file.write_text(yaml.safe_dump({"law": {k: v for k, v in ENTRY.items() if k != field}}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=rf"law\.{field}: required field is missing"):
        parse_records(LawRecord, file)


def test_a_formula_reads_its_constants_and_no_others() -> None:
    """Each form's list of constants, against what its formula looks up."""

    class Looked(dict[str, float]):
        read: set[str]

        def __getitem__(self, name: str) -> float:
            self.read.add(name)
            return super().__getitem__(name)

    features = {name: 1e9 for form in FORMS.values() for name in (*form.features, *form.optional)}
    for name, form in FORMS.items():
        constants = Looked(dict.fromkeys(form.constants, 0.5))
        for given in (features, {k: v for k, v in features.items() if k not in form.optional}):
            constants.read = getattr(constants, "read", set())
            form.value(constants, given)
        assert constants.read == set(form.constants), name


def test_shipped_laws_pass() -> None:
    assert sum(len(parse_records(LawRecord, LAWS / file)) for file in LAW_FILES) > 8
