"""Prices of GPU-hours: the shipped file, a user's own, one price through every verb, and who has none is named."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
import yaml
from verbs import Ask, asker

from archsearch.cli.main import run
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware import (
    GpuPool,
    gpu_ids,
    listed_prices,
    load_gpu,
    parse_prices,
    price_of,
    price_source,
    quotes,
)
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.space.space import parse_space

SERVED = ("flux-schnell", "--rate", "0.2", "--p95-s", "60")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    return asker(capsys)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The user's folder of profiles."""
    folder = tmp_path / "archsearch-home" / "hardware_profiles"
    (folder / "prices").mkdir(parents=True)
    return folder


@pytest.fixture
def lab(own: Path) -> str:
    """A GPU of the user's own, of which nobody knows a price."""
    profile = yaml.safe_load(Path("hardware_profiles/h100-sxm.yaml").read_text())
    (own / "lab.yaml").write_text(yaml.safe_dump(profile | {"id": "lab", "name": "Lab H100", "aliases": []}))
    return "lab"


def price_list(folder: Path, text: str) -> Path:
    path = folder / "prices" / "on_demand.yaml"
    path.write_text(text)
    return path


def entry(usd: float) -> str:
    return f"{{usd_per_hour: {usd}, provider: our cluster, date: 2026-11-01}}"


# ---------------------------------------------------------------- the shipped file


def test_every_shipped_price_is_of_a_gpu_and_has_a_dated_source() -> None:
    prices = listed_prices()
    assert prices.keys() <= set(gpu_ids())
    for gpu, price in prices.items():
        assert datetime.date(2025, 1, 1) <= price.date <= datetime.datetime.now(tz=datetime.UTC).date(), gpu
        assert str(price.url).startswith("https://"), gpu
        assert 0.01 < price.usd_per_hour < 20, gpu


@pytest.mark.parametrize(
    ("gpu", "provider", "usd"),
    [
        # read by hand from the providers' lists: RunPod's on two dates, Lambda's, AWS's g5.xlarge, Oracle's GB200
        ("h100-sxm", "RunPod Secure Cloud", 3.99),
        ("l40s", "RunPod Secure Cloud", 1.09),
        ("rtx-4090", "RunPod Secure Cloud", 0.74),
        ("v100-sxm-16gb", "RunPod Community Cloud", 0.23),
        ("a10", "Lambda", 1.29),
        ("a10g", "AWS", 1.006),
        ("gb200", "Oracle Cloud", 16.0),
        ("v100-sxm-32gb", "AWS", 31.212 / 8),
    ],
)
def test_prices_are_those_of_the_lists(gpu: str, provider: str, usd: float) -> None:
    assert listed_prices()[gpu].provider == provider
    assert price_of(load_gpu(gpu)) == pytest.approx(usd)


# ---------------------------------------------------------------- the user's


def test_a_users_entry_hides_the_shipped_one_and_leaves_the_others(own: Path, tmp_path: Path) -> None:
    shipped = listed_prices()
    price_list(own, f"H100: {entry(1.5)}\n")
    assert price_of(load_gpu("h100-sxm")) == 1.5
    assert price_source(load_gpu("h100-sxm")) == "our cluster, 2026-11-01"
    assert {**listed_prices(), "h100-sxm": None} == {**shipped, "h100-sxm": None}
    price_list(own, f"h100-sxm: {entry(1.25)}\nl4: {entry(0.3)}\n")
    assert price_of(load_gpu("h100-sxm")) == 1.25, "a changed file is read anew"
    given = tmp_path / "given"
    (given / "prices").mkdir(parents=True)
    price_list(given, f"h100-sxm: {entry(1.0)}\n")
    found = listed_prices(given)
    assert (found["h100-sxm"].usd_per_hour, found["l4"].usd_per_hour) == (1.0, 0.3)


def test_overrides_come_before_every_file(own: Path, lab: str) -> None:
    price_list(own, f"h100-sxm: {entry(1.5)}\n")
    gpu = load_gpu("h100-sxm")
    assert price_of(gpu, {"h100-sxm": 1.25, "l4": 9.0}) == 1.25
    assert price_source(gpu, {"h100-sxm": 1.25}) == "given"
    assert price_of(gpu, {"l4": 9.0}) == 1.5
    assert price_of(load_gpu(lab)) is None
    assert price_source(load_gpu(lab)) is None
    both = quotes([gpu, load_gpu(lab)], {"h100-sxm": 2.0})
    assert both.to_dict() == {"prices": {"h100-sxm": {"usd_per_hour": 2.0, "source": "given"}}, "unpriced": ["lab"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("l4: {usd_per_hour: 0.3, provider: us}", "on_demand.yaml:1: l4.date: required field is missing"),
        ("l4: {usd_per_hour: free, provider: us, date: 2026-11-01}", "l4.usd_per_hour"),
        ("l4: {usd_per_hour: -1, provider: us, date: 2026-11-01}", "l4.usd_per_hour"),
        ("l4: {usd_per_hour: 1, provider: us, date: soon}", "l4.date"),
        ("l4: {usd_per_hour: 1, provider: us, date: 2026-11-01, url: our wiki}", "l4.url"),
        ("l4: {usd_per_hours: 1, provider: us, date: 2026-11-01}", "did you mean usd_per_hour"),
        (f"l4: {entry(1)}\nNVIDIA L4: {entry(2)}", "on_demand.yaml:2: NVIDIA L4: a second price of l4"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(own: Path, text: str, says: str) -> None:
    price_list(own, text)
    with pytest.raises(InvalidInputError, match=says):
        listed_prices()


def test_a_users_price_of_an_unknown_gpu_is_refused(own: Path) -> None:
    path = price_list(own, f"l4: {entry(1)}\nl44: {entry(1)}\n")
    with pytest.raises(UnknownNameError, match=f"{path}:2: unknown GPU 'l44'"):
        listed_prices()


def test_prices_are_read_by_gpu_and_bad_ones_refused() -> None:
    assert parse_prices(["H100=2.5", "l4=0.5"], ["h100-sxm", "l4"]) == {"h100-sxm": 2.5, "l4": 0.5}
    for items, says in (
        (["l4"], "write GPU=USD_PER_HOUR"),
        (["l4=free"], "write GPU=USD_PER_HOUR"),
        (["l4=0"], "write GPU=USD_PER_HOUR"),
        (["l4=inf"], "write GPU=USD_PER_HOUR"),
        (["l4=1", "l4=2"], "names l4 twice"),
        (["t4=1"], "no effect: the hardware is h100-sxm, l4"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            parse_prices(items, ["h100-sxm", "l4"])


# ---------------------------------------------------------------- verbs


@pytest.fixture
def priced_space(tmp_path: Path) -> Path:
    """Few decoders, their price per million tokens searched."""
    text = Path("search_spaces/decoder-1b.yaml").read_text()
    for wide, narrow in (
        ("step: 128}", "step: 1024}"),
        ("step: 64}", "step: 256}"),
        ("[10, 48]}", "[10, 46], step: 12}"),
    ):
        text = text.replace(wide, narrow)
    path = tmp_path / "priced.yaml"
    path.write_text(text.replace("  - metric: throughput", "  - metric: usd_per_million"))
    return path


def test_one_gpu_has_one_price_in_every_verb(ask: Ask, priced_space: Path) -> None:
    listed = listed_prices()["l40s"]
    said = {"l40s": {"usd_per_hour": listed.usd_per_hour, "source": listed.source}}
    shown = ask("hardware", "show", "l40s")["price"]
    assert (shown["usd_per_hour"], shown["date"], shown["url"]) == (
        listed.usd_per_hour,
        listed.date.isoformat(),
        listed.url,
    )
    assert next(row for row in ask("hardware", "list") if row["id"] == "l40s")["price"] == shown
    whole = ask("pipeline", "estimate", "flux-schnell", "-g", "l40s")
    assert whole["prices"] == said
    assert whole["usd_per_output"] == pytest.approx(whole["gpu_seconds_per_output"] * listed.usd_per_hour / 3600)
    fleet = ask("serve", "fleet", *SERVED, "-g", "l40s")
    assert fleet["prices"] == said
    assert fleet["usd_per_hour"] == pytest.approx(fleet["gpus"] * listed.usd_per_hour)
    swept = ask("enumerate", str(priced_space), "-g", "l40s")
    assert swept["prices"] == said
    row = swept["front"][0]
    each = listed.usd_per_hour / 3600 / row["throughput"]["l40s"] * 1e6
    assert row["usd_per_million"]["l40s"] == pytest.approx(each)
    assert ask("recommend", str(priced_space), "-g", "l40s")["prices"] == said
    for words in (
        ("pipeline", "estimate", "flux-schnell", "-g", "l40s"),
        ("pipeline", "optimize", "flux-schnell", "-g", "l40s"),
        ("serve", "fleet", *SERVED, "-g", "l40s"),
        ("enumerate", str(priced_space), "-g", "l40s"),
        ("recommend", str(priced_space), "-g", "l40s"),
    ):
        text = ask(*words, as_text=True)
        assert text.count(f"l40s {listed.usd_per_hour:.4g} USD: {listed.source}") == 1, words


def test_who_has_no_price_is_named(ask: Ask, lab: str) -> None:
    whole = ask("pipeline", "estimate", "flux-schnell", "-g", lab)
    assert (whole["usd_per_output"], whole["prices"], whole["unpriced"]) == (None, {}, [lab])
    fleet = ask("serve", "fleet", *SERVED, "-g", f"{lab},l40s")
    assert fleet["unpriced"] == [lab]
    assert [group["gpu"] for group in fleet["fleet"]] == ["l40s"]
    assert any(other["fleet"].endswith(lab) and other["usd_per_hour"] is None for other in fleet["alternatives"])
    given = ask("serve", "fleet", *SERVED, "-g", f"{lab},l40s", "--price", f"{lab}=0.01")
    assert given["unpriced"] == []
    assert [group["gpu"] for group in given["fleet"]] == [lab]
    for words in (
        ("pipeline", "estimate", "flux-schnell", "-g", lab),
        ("pipeline", "optimize", "flux-schnell", "-g", lab),
        ("serve", "fleet", *SERVED, "-g", f"{lab},l40s"),
        ("serve", "fleet", *SERVED, "-g", lab, "--tier", "flux-schnell=0.5"),
        ("serve", "simulate", *SERVED, "-g", lab),
    ):
        text = ask(*words, as_text=True)
        assert text.count("lab: no price known; give --price lab=USD") == 1, words
    assert "price: none known" in ask("hardware", "show", lab, as_text=True)
    assert ask("hardware", "show", lab)["price"] is None


def test_a_search_without_prices_says_so_where_they_are_asked_for(
    ask: Ask, lab: str, priced_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("enumerate", "search_spaces/dit-xl-budget.yaml", "-g", lab)["unpriced"] == [lab]
    assert run(["enumerate", str(priced_space), "-g", lab]) == 2
    assert "lab: no price known; give USD per GPU-hour in the space, prices: {lab: USD}" in capsys.readouterr().err
    priced_space.write_text(priced_space.read_text() + "prices: {Lab H100: 1.5}\n")
    assert ask("enumerate", str(priced_space), "-g", lab)["prices"] == {
        lab: {"usd_per_hour": 1.5, "source": "the space's prices"}
    }


def test_a_spaces_prices_are_by_any_name_and_of_its_gpus(priced_space: Path) -> None:
    text = priced_space.read_text()
    priced_space.write_text(text + "prices: {A100-SXM4-80GB: 1.5}\n")
    space = parse_space(priced_space)
    assert space.record.prices == {"a100-sxm-80gb": 1.5}
    priced_space.write_text(text + "prices: {A100-SXM4-80GB: 1.5, a100-sxm-80gb: 2}\n")
    with pytest.raises(InvalidInputError, match="two prices of a100-sxm-80gb"):
        parse_space(priced_space)
    priced_space.write_text(text + "prices: {a100-sxm-80: 1.5}\n")
    with pytest.raises(InvalidInputError, match="unknown GPU 'a100-sxm-80'"):
        parse_space(priced_space)
    priced_space.write_text(text + "prices: {l4: 1.5}\n")
    with pytest.raises(InvalidInputError, match="l4: has no effect: the hardware is a100-sxm-80gb, h100-sxm"):
        Evaluator(parse_space(priced_space), GpuPool.parse("a100-sxm-80gb,h100-sxm"))
    Evaluator(parse_space(priced_space), GpuPool.parse("l4,h100-sxm"))


def test_a_users_file_reaches_the_verbs(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    (folder / "prices").mkdir(parents=True)
    price_list(folder, f"l40s: {entry(0.5)}\n")
    found = ask("pipeline", "estimate", "flux-schnell", "-g", "l40s", "--profiles", str(folder))
    assert found["prices"] == {"l40s": {"usd_per_hour": 0.5, "source": "our cluster, 2026-11-01"}}
    assert json.dumps(found["prices"]) != json.dumps(
        ask("pipeline", "estimate", "flux-schnell", "-g", "l40s")["prices"]
    )
