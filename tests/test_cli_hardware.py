"""``archsearch hardware``: what is listed and in which order, what is shown of a figure, what is laid side by side."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from archsearch.cli.main import run
from archsearch.cli.table import drawn_table
from archsearch.data import data_path
from archsearch.hardware import database, list_gpus, listed_prices, load_gpu
from archsearch.hardware import parsed as parsed_files
from archsearch.hardware.figures import figures_of
from archsearch.yaml_records import read_mapping


@pytest.fixture
def ask(capsys):
    """A call's JSON document."""

    def call(*arguments: str) -> object:
        assert run([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def files() -> dict[str, dict]:
    """Every shipped profile as it stands, by a parser of our own."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in data_path("hardware_profiles").glob("*.yaml")}


def test_filters_are_those_of_the_files(ask):
    stated = files()
    found = ask("hardware", "list", "--supports", "fp8", "--supports", "bf16", "--min-memory-gib", "70")
    formats = {"fp8", "bf16"}
    expected = {
        gpu
        for gpu, profile in stated.items()
        if formats <= set(profile["peak_tflops"]) and profile["memory"]["usable_gib"] >= 70
    }
    assert {gpu["id"] for gpu in found} == expected
    assert len(expected) > 5
    amd = ask("hardware", "list", "--vendor", "AMD")
    assert {gpu["id"] for gpu in amd} == {gpu for gpu, profile in stated.items() if profile["vendor"] == "amd"}
    ada = ask("hardware", "list", "--architecture", "ada", "--vendor", "nvidia")
    assert {gpu["id"] for gpu in ada} == {gpu for gpu, profile in stated.items() if profile["architecture"] == "ada"}


@pytest.mark.parametrize(
    ("sort", "figure"),
    [
        ("memory", lambda gpu: gpu["memory"]["usable_gib"]),
        ("bandwidth", lambda gpu: gpu["memory"]["bandwidth_gb_s"]),
        ("power", lambda gpu: gpu["tdp_w"]),
        ("year", lambda gpu: gpu["released"]),
        ("tflops", lambda gpu: gpu["peak_tflops"]["fp16"]),
    ],
)
def test_the_order_is_from_the_largest_and_the_same_in_both_forms(ask, capsys, sort, figure):
    found = ask("hardware", "list", "--supports", "fp16", "--sort", sort)
    figures = [figure(gpu) for gpu in found]
    assert figures == sorted(figures, reverse=True)
    assert run(["hardware", "list", "--supports", "fp16", "--sort", sort]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[4:] if line]
    assert rows == [gpu["id"] for gpu in found]


def test_ids_and_prices_are_orders_too(ask, capsys):
    ids = [gpu["id"] for gpu in ask("hardware", "list", "--sort", "id")]
    assert ids == sorted(files())
    priced = ask("hardware", "list", "--sort", "price")
    asked = [None if gpu["price"] is None else gpu["price"]["usd_per_hour"] for gpu in priced]
    known = [price for price in asked if price is not None]
    assert known == sorted(known, reverse=True)
    assert asked == [*known, *[None] * (len(asked) - len(known))]  # those whose price nobody knows are last
    assert len(known) == len(listed_prices())
    assert run(["hardware", "list", "--sort", "price"]) == 0
    assert "USD/h" in capsys.readouterr().out


def test_an_empty_answer_says_which_filter_removed_all(capsys):
    assert run(["hardware", "list", "--min-memory-gib", "70", "--architecture", "turing", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    turing = sum(profile["architecture"] == "turing" for profile in files().values())
    assert said.err.strip() == f"no GPU of the {turing} that the filters before leave has 70 GiB of usable memory"
    assert run(["hardware", "list", "--min-memory-gib", "5000"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err.strip()) == ("", "no GPU has 5000 GiB of usable memory")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--architecture", "hoper"], "hopper"),
        (["list", "--vendor", "nvida"], "nvidia"),
        (["list", "--supports", "fp9"], "fp8"),
        (["list", "--sort", "bandwith"], "bandwidth"),
        (["list", "--min-memory-gib", "0"], "--min-memory-gib"),
        (["compare", "h100-sxm"], "two GPUs"),
        (["compare", "h100-sxm", "H100"], "each once"),
        (["compare", "h100-sxm", "h1000"], "h100"),
    ],
)
def test_what_is_mistyped_is_refused_in_one_line_with_what_is_near(capsys, arguments, words):
    assert run(["hardware", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_every_figure_says_how_it_is_known(ask):
    assert ask("hardware", "show", "h20")["figures"] == [figure.to_dict() for figure in figures_of(load_gpu("h20"))]
    for spec in list_gpus():
        for figure in (figure.to_dict() for figure in figures_of(spec)):
            known = {
                "sourced": bool(figure["sources"]) and not figure["inherited_from"] and not figure["inferred"],
                "inherited": bool(figure["sources"] and figure["inherited_from"]),
                "inferred": bool(figure["inferred"]) and not figure["sources"],
            }
            assert known[figure["status"]], (spec.id, figure)
            assert all(source["url"].startswith("http") for source in figure["sources"])


def marked(tmp_path: Path) -> Path:
    """An L4 with an inferred clock, a disputed bandwidth and an unchecked peak."""
    profile = files()["l4"] | {"id": "lab", "name": "Lab", "aliases": [], "unchecked": ["fp8"]}
    profile["max_clock_mhz"] = 2040
    profile["inferred"] = {**profile.get("inferred", {}), "max_clock_mhz": "as the boost clock"}
    profile["disputed"] = {"memory.bandwidth_gb_s": {"others": [288, "about 300"], "reason": "a reseller rounds"}}
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(profile))
    return tmp_path


def test_inherited_inferred_disputed_and_unchecked_figures_are_marked(ask, capsys, tmp_path):
    folder = str(marked(tmp_path))
    figures = {f["field"]: f for f in ask("hardware", "show", "lab", "--profiles", folder)["figures"]}
    assert figures["registers_per_sm"]["inherited_from"] in ("ada", "ampere-ga10x", "ampere")
    assert figures["max_clock_mhz"]["inferred"] == "as the boost clock"
    assert figures["memory.bandwidth_gb_s"]["disputed"]["others"] == [288, "about 300"]
    assert figures["peak_tflops.fp8"]["unchecked"]
    assert not figures["peak_tflops.bf16"]["unchecked"]
    assert run(["hardware", "show", "lab", "--profiles", folder]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert "inherited from ada" in lines["registers_per_sm"]
    assert "inferred: as the boost clock" in lines["max_clock_mhz"]
    assert "disputed: others say 288, about 300 (a reseller rounds)" in lines["memory.bandwidth_gb_s"]
    assert "UNCHECKED" in lines["peak_tflops.fp8"]


def test_derived_figures_are_those_of_a_pocket_calculator(ask):
    derived = ask("hardware", "show", "l4")["derived"]
    spec = load_gpu("l4")
    assert derived["available_gib"] == pytest.approx(spec.memory.usable_gib - spec.context_mib / 1024)
    assert derived["ridge_flop_per_byte.bf16"] == pytest.approx(121e12 / 300e9)
    assert derived["tflops_per_w.bf16"] == pytest.approx(121 / 72)


def test_two_gpus_stand_side_by_side(ask, capsys):
    found = ask("hardware", "compare", "h100-sxm", "H100 PCIe")
    assert found["gpus"] == ["h100-sxm", "h100-pcie"]
    figures = {figure["field"]: figure for figure in found["figures"]}
    assert figures["num_sms"]["values"] == {"h100-sxm": 132, "h100-pcie": 114}
    assert figures["num_sms"]["ratios"]["h100-pcie"] == pytest.approx(114 / 132)
    assert figures["num_sms"]["differs"]
    assert not figures["registers_per_sm"]["differs"]
    assert figures["fp32_accumulation"]["values"]["h100-pcie"] == "full"  # a product fact, though it is the default
    assert figures["memory.type"]["ratios"]["h100-pcie"] is None
    assert figures["ridge_flop_per_byte.bf16"]["derived"]
    differing = ask("hardware", "compare", "h100-sxm", "H100 PCIe", "--differing")["figures"]
    assert differing == [figure for figure in found["figures"] if figure["differs"]]
    assert run(["hardware", "compare", "h100-sxm", "h100-pcie", "l4"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "num_sms" in line)
    assert row.split() == ["≠", "num_sms", "132", "114", "(0.864)", "58", "(0.439)"]


def test_answers_fit_80_columns_and_no_number_or_id_breaks(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for call in (["list"], ["show", "h100-sxm"], ["show", "mi300x"], ["compare", "h100-sxm", "l4", "rtx-5090"]):
        assert run(["hardware", *call]) == 0
        shown = capsys.readouterr().out
        wide = [line for line in shown.splitlines() if len(line) > 80 and len(line.split()) > 1]
        assert wide == [], call
        if call == ["list"]:
            first = [line.split()[0] for line in shown.splitlines()[4:] if line]
            assert first == [spec.id for spec in list_gpus()]
        bandwidth = load_gpu("mi300x" if "mi300x" in call else "h100-sxm").memory.bandwidth_gb_s
        assert re.search(rf"\b{bandwidth:g}\b", shown), call


def test_a_table_folds_at_words_and_columns_that_do_not_fit_are_left_out():
    rows = [["one", "a text of several words", "12345"], ["two", "", "1"]]
    lines, _ = drawn_table("", ("id", "text", "n"), rows, left=("id", "text"), width=34)
    assert max(map(len, lines)) <= 34
    assert [line.split() for line in lines[3:5]] == [["one", "a", "text", "of", "12345"], ["several", "words"]]
    narrow, missing = drawn_table("", ("id", "text", "n"), rows, left=("id", "text"), less=("text", "n"), width=20)
    assert [line.split() for line in narrow[1:5]] == [["id", "n"], ["─" * 13], ["one", "12345"], ["two", "1"]]
    assert missing == ["text"]


GUIDE = Path(__file__).parents[1] / "docs" / "hardware.md"


@pytest.mark.parametrize(
    ("said", "instead", "told"),
    [
        ("bf16: 26.3", "bf16: 52.6", "a peak with sparsity is doubled"),
        ("fp32_accumulation: half\n", "", "fp32_accumulation: half or tensor_rate_cap: 0.5"),
        ("boost_clock_mhz: 2570", "boost_clock_mhz: 3090", "3090 MHz"),
        ("bandwidth_gb_s: 320", "bandwidth_gb_s: 298", "298 is not 128 bits"),
        ("fields: [architecture, fp32_accumulation]", 'fields: ["*"]', "no figure that stands in this profile"),
        ("num_sms, compute_capability,", "num_sms, registers_per_sm,", "no figure that stands in this profile"),
        ("usable_gib: 7.72", "usable_gib: 8.2", "more than the 8 GiB"),
    ],
)
def test_traps_of_the_guide_are_refused_as_it_says(capsys, tmp_path, said, instead, told):
    block = GUIDE.read_text().split("```yaml is=profile file=rtx-5050.yaml\n")[1].split("```")[0]
    path = tmp_path / "rtx-5050.yaml"
    path.write_text(block)
    assert run(["hardware", "show", "rtx-5050", "--profiles", str(tmp_path)]) == 0
    assert said in block
    path.write_text(block.replace(said, instead))
    assert run(["hardware", "show", "rtx-5050", "--profiles", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err


class TestParsedCache:
    """The cache of parsed profiles gives what parsing gives, whatever lies in its place."""

    @pytest.fixture
    def place(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "home"))
        parsed_files._kept.cache_clear()
        return parsed_files.cache_place()

    def again(self):
        """As another process would begin."""
        parsed_files._kept.cache_clear()

    @pytest.fixture
    def profile(self, tmp_path):
        path = tmp_path / "lab.yaml"
        path.write_text("id: lab\nnum_sms: 3\nclock: 1.5\n")
        return path

    def test_a_second_reading_parses_nothing(self, place, profile, monkeypatch):
        first = parsed_files.parsed_mapping(profile)
        parsed_files.keep_parsed()
        self.again()
        monkeypatch.setattr(parsed_files, "read_mapping", lambda path: pytest.fail("parsed again"))
        assert parsed_files.parsed_mapping(profile) == first == {"id": "lab", "num_sms": 3, "clock": 1.5}

    def test_installations_keep_their_own(self, place, profile, tmp_path, monkeypatch):
        parsed_files.parsed_mapping(profile)
        parsed_files.keep_parsed()
        before = place.read_text()
        monkeypatch.setattr(parsed_files, "data_path", lambda name: tmp_path / "elsewhere" / name)
        other = tmp_path / "other.yaml"
        other.write_text("id: other\n")
        parsed_files.parsed_mapping(other)
        parsed_files.keep_parsed()
        assert place.read_text() == before
        assert set(json.loads(parsed_files.cache_place().read_text())["files"]) == {str(other)}
        assert place.parent == parsed_files.cache_place().parent == tmp_path / "home" / "cache"

    def test_a_file_that_changed_is_parsed_again(self, place, profile):
        parsed_files.parsed_mapping(profile)
        parsed_files.keep_parsed()
        self.again()
        about = profile.stat()
        profile.write_text("id: lab\nnum_sms: 4\nclock: 1.5\n")  # as long as before
        os.utime(profile, ns=(about.st_atime_ns, about.st_mtime_ns))  # and with the old time put back
        assert parsed_files.parsed_mapping(profile)["num_sms"] == 4

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"format": 0}', '{"format": 1, "files": {"x": 3}}', '{"format": 1}']
    )
    def test_a_broken_cache_is_done_without_and_mended(self, place, profile, text):
        place.parent.mkdir(parents=True)
        place.write_text(text)
        assert parsed_files.parsed_mapping(profile)["id"] == "lab"
        parsed_files.keep_parsed()
        assert str(profile) in json.loads(place.read_text())["files"]

    def test_a_place_that_cannot_be_written_is_done_without(self, place, profile):
        place.parent.parent.mkdir(parents=True)
        place.parent.write_text("a file where the folder should be")
        assert parsed_files.parsed_mapping(profile)["id"] == "lab"
        parsed_files.keep_parsed()

    @pytest.mark.parametrize("text", ["when: 2026-01-01\n", "1: one\n", "x: .nan\n"])
    def test_what_json_cannot_say_is_parsed_every_time(self, place, tmp_path, text):
        path = tmp_path / "odd.yaml"
        path.write_text(text)
        assert repr(parsed_files.parsed_mapping(path)) == repr(read_mapping(path))
        parsed_files.keep_parsed()
        self.again()
        assert repr(parsed_files.parsed_mapping(path)) == repr(read_mapping(path))
        assert not place.exists()

    def test_files_that_nobody_asked_for_stay_while_they_are_as_they_were(self, place, profile):
        """Two processes that read one file each throw out none of the other's, but what is gone."""
        other = profile.with_name("other.yaml")
        for path in (profile, other):
            path.write_text(f"id: {path.stem}\n")
            self.again()
            parsed_files.parsed_mapping(path)
            parsed_files.keep_parsed()
        assert set(json.loads(place.read_text())["files"]) == {str(profile), str(other)}
        other.unlink()
        third = profile.with_name("third.yaml")
        third.write_text("id: third\n")
        self.again()
        parsed_files.parsed_mapping(third)
        parsed_files.keep_parsed()
        assert set(json.loads(place.read_text())["files"]) == {str(profile), str(third)}

    def test_kinds_keep_their_own(self, place, profile):
        """A preset that is new throws no profile away."""
        parsed_files.parsed_mapping(profile)
        parsed_files.keep_parsed()
        before = place.read_text()
        preset = profile.with_name("preset.yaml")
        preset.write_text("tiny: {hidden_size: 8}\n")
        parsed_files.parsed_mapping(preset, "presets")
        parsed_files.keep_parsed("presets")
        assert place.read_text() == before
        kept = json.loads(parsed_files.cache_place("presets").read_text())["files"]
        assert {path: content for path, (_, content) in kept.items()} == {str(preset): {"tiny": {"hidden_size": 8}}}

    def test_listing_is_the_same_with_and_without(self, place):
        def listed():
            self.again()
            database._index.cache_clear()
            database._complete.cache_clear()
            return [spec.model_dump_json() for spec in list_gpus()]

        first = listed()
        assert place.is_file()
        assert listed() == first
