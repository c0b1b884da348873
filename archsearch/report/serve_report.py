"""Fleets as pages. The functions take the documents that ``archsearch serve`` prints with ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.hardware import Quotes
from archsearch.plotting.bars import Bars, figure
from archsearch.plotting.pipeline_bars import fleet_bars
from archsearch.report.texts import amount, seconds, settings, share
from archsearch.report.web_page import Page, Picture, Section, Table

Document = Mapping[str, Any]


def use_bars(document: Document) -> Bars:
    """Per cent of the time that each group of GPUs works."""
    labels = [_group(g) for g in document["fleet"]]
    return Bars("Utilisation", "%", labels, {"busy": [100.0 * g["utilisation"] for g in document["fleet"]]})


def response_bars(document: Document) -> Bars:
    """Response times in seconds, with the limits of the service level."""
    q = document["response_s"]
    level = {name.removesuffix("-s"): float(limit) for name, limit in document["service_level"].items()}
    asked = [level.get(name, float("nan")) for name in q]
    limits = {"limit": asked} if level else {}
    return Bars("Response times", "s", list(q), {"response": [float(v) for v in q.values()]}, limits=limits)


def serve_page(document: Document, command: str = "") -> Page:
    """A fleet: kinds of GPU, utilisation, response times, price and where it is from."""
    q, usd = document["response_s"], document["usd_per_hour"]
    price = "; its price is not known" if usd is None else f", {usd:.4g} USD an hour"
    kept = ", ".join(
        f"{name.removesuffix('-s')} within {limit:g} s" for name, limit in document["service_level"].items()
    )
    headline = (
        f"{_chosen(document)} serve {document['rate_per_s']:g} requests/s of {document['pipeline']}{price}.",
        f"Response p50 {seconds(q['p50'])}, p95 {seconds(q['p95'])}, p99 {seconds(q['p99'])}"
        + (f"; asked: {kept}." if kept else "; no limit was asked for."),
        *_left_out(document),
    )
    title = f"{document['pipeline']}: {document['rate_per_s']:g} requests/s"
    sections = (_fleet(document), _responses(document), *_others(document), _how(document))
    return Page("fleet", title, headline, sections, _facts(document), command=command)


def _chosen(document: Document) -> str:
    return " + ".join(f"{g['gpus']} {g['gpu']}" for g in document["fleet"])


def _group(row: Document) -> str:
    return f"{row['gpus']} {row['gpu']}" + (f", {row['pipeline']}" if "pipeline" in row else "")


def _left_out(document: Document) -> tuple[str, ...]:
    """Which kinds took no part in the comparison by price."""
    unpriced = document["unpriced"]
    if not unpriced:
        return ()
    return (f"No price is known of {', '.join(unpriced)}: fleets with them come last, whatever they cost.",)


def _facts(document: Document) -> tuple[tuple[str, str], ...]:
    usd, each, saved = (document.get(name) for name in ("usd_per_hour", "usd_per_output", "saved"))
    facts = [
        ("GPUs", amount(document["gpus"])),
        ("price", "not known" if usd is None else f"{usd:.4g} USD/h"),
        ("price per output", "not known" if each is None else f"{each:.3g} USD"),
        ("energy per output", f"{document['energy_j_per_output']:.4g} J at TDP"),
        ("mean response", seconds(document["response_s"]["mean"])),
    ]
    return tuple(facts) if saved is None else (*facts, ("saved", share(saved)))


def _fleet(document: Document) -> Section:
    heads = ("GPU", "pipeline", "replicas", "GPUs", "batch limit", "mean batch", "requests/s", "busy", "USD/h")
    rows = tuple(
        (
            g["gpu"],
            g.get("pipeline", document["pipeline"]),
            amount(g["replicas"]),
            amount(g["gpus"]),
            amount(g["batch_limit"]),
            f"{g['mean_batch']:.2f}",
            amount(g["rate_per_s"]),
            share(g["utilisation"], 0),
            amount(g["usd_per_hour"]) or "not known",
        )
        for g in document["fleet"]
    )
    picture = Picture("use", "Utilisation", figure(use_bars(document)), "Share of the time that each group works.")
    shares = tuple(f"{share(t['share'], 0)} of the requests go to {t['pipeline']}." for t in document.get("tiers", ()))
    return Section("fleet", "Fleet", shares, pictures=(picture,), tables=(Table("fleet", heads, rows, left=2),))


def _responses(document: Document) -> Section:
    level = {name.removesuffix("-s"): limit for name, limit in document["service_level"].items()}
    simulated = document.get("simulation") or {}
    rows = tuple(
        (
            name,
            seconds(value),
            seconds(level[name]) if name in level else "",
            seconds(simulated[name]) if name in simulated else "",
        )
        for name, value in document["response_s"].items()
    )
    heads = ("response", "calculated", "limit", "simulated")
    picture = Picture(
        "responses", "Response times", figure(response_bars(document)), "The mark: the limit that was asked for."
    )
    return Section("responses", "Response times", pictures=(picture,), tables=(Table("responses", heads, rows),))


def _others(document: Document) -> tuple[Section, ...]:
    """The other fleets that keep the level, and the kinds that cannot."""
    others, refused = document.get("alternatives", ()), document.get("refused", {})
    tables, pictures = [], []
    if others:
        rows = tuple(
            (a["fleet"], amount(a["gpus"]), seconds(a["p95"]), amount(a["usd_per_hour"]) or "not known") for a in others
        )
        tables.append(Table("others", ("fleet", "GPUs", "p95", "USD/h"), rows, "Fleets that keep the level too"))
        bars = fleet_bars(document)
        if len(bars.labels) > 1:
            pictures.append(Picture("fleets", "Price of the fleets", figure(bars), "The chosen one first."))
    if refused:
        reasons = tuple((gpu, str(reason)) for gpu, reason in refused.items())
        tables.append(Table("refused", ("GPU", "why not"), reasons, "Kinds that cannot serve it", left=2))
    if not tables:
        return ()
    return (Section("others", "What else was considered", pictures=tuple(pictures), tables=tuple(tables)),)


def _how(document: Document) -> Section:
    """Prices with their sources, how energy is known, how the pipeline runs."""
    prices = Quotes.from_dict(document).lines("give --price {gpu}=USD")
    rows = [
        *(("GPU-hour", line) for line in prices),
        ("energy", document.get("energy_basis", "TDP times busy time: an upper bound")),
        *((("execution", settings(document["execution"])),) if "execution" in document else ()),
        *((("request", settings(document["request"])),) if "request" in document else ()),
        *((("run", settings(document["run"])),) if "run" in document else ()),
        *((f"latency on {gpu}", reason) for gpu, reason in document.get("roofline", {}).items()),
    ]
    table = Table("provenance", ("number", "how it is known"), tuple(rows), left=2)
    return Section("provenance", "How the numbers are known", tables=(table,))
