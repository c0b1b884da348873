"""Pipelines, levers and fleets as one HTML page: info objects first, then pictures drawn with Plotly.

The functions take the documents that ``archsearch pipeline`` and ``archsearch serve`` print with ``--json``.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from archsearch.hardware import Quotes
from archsearch.pipeline.describe import quality_left
from archsearch.plotting.bars import Bars, figure
from archsearch.plotting.pipeline_bars import fleet_bars, lever_bars, memory_bars, stage_bars, theory_bars

GIB = 2**30


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}th,td{padding:.15em .8em;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}"""


def pipeline_page(document: Mapping[str, Any]) -> str:
    """One estimate as a page that needs no network."""
    r = document["request"]
    title = f"{document['pipeline']} on {document['hardware']}: {document['latency_s']:.4g} s"
    m = document["memory_bytes"]
    facts = [
        f"{r['height']} x {r['width']}, {r['steps']} steps, guidance {r['guidance']}, batch {r['batch_size']}",
        f"80 % band {document['latency_low_s']:.4g} to {document['latency_high_s']:.4g} s ({document['provenance']})",
        f"peak memory {m['peak'] / GIB:.4g} of {m['available'] / GIB:.4g} GiB: {'fits' if document['fits'] else 'no'}",
        *(f"{gap['seconds']:.3g} s {gap['what']}: {gap['closed_by']}" for gap in document["theory"]["gap"]),
        *(f"not costed: {name}" for name in document["not_costed"]),
    ]
    return _page(title, facts, [stage_bars(document), theory_bars(document), memory_bars(document)])


def optimum_page(document: Mapping[str, Any]) -> str:
    """The optimiser's answer as a page."""
    best = document["best"]
    title = f"{best['pipeline']} on {best['hardware']}: {document['speedup']:.2f} times as fast"
    facts = [
        f"{document['baseline']['latency_s']:.4g} s without levers, {best['latency_s']:.4g} s with {best['levers']}",
        quality_left(best["retained"]),
        *(
            f"{row['lever']}: {row['title']}; quality left {row['quality_text']}, {row['source']}"
            for row in document["levers"]
        ),
    ]
    return _page(title, facts, [lever_bars(document), stage_bars(best), memory_bars(best)])


def serve_page(document: Mapping[str, Any]) -> str:
    """A fleet as a page."""
    q = document["response_s"]
    title = f"{document['pipeline']}: {document['rate_per_s']:g} requests/s"
    facts = [
        f"response p50 {q['p50']:.4g} s, p95 {q['p95']:.4g} s, p99 {q['p99']:.4g} s, mean {q['mean']:.4g} s",
        *(
            f"{g['gpus']} {g['gpu']}: batches up to {g['batch_limit']}, utilisation {g['utilisation']:.0%}"
            for g in document["fleet"]
        ),
        f"{document['energy_j_per_output']:.4g} J per output at TDP",
        *(f"GPU-hour: {line}" for line in Quotes.from_dict(document).lines("fleets with it come last")),
    ]
    priced = document.get("alternatives") is not None and document.get("usd_per_hour") is not None
    return _page(title, facts, [fleet_bars(document)] if priced else [])


def _page(title: str, facts: Sequence[str], pictures: Sequence[Bars]) -> str:
    """A page with plotly.js in it, once."""
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    parts = ["<ul>" + "".join(f"<li>{html.escape(fact)}</li>" for fact in facts) + "</ul>"]
    parts += [str(to_html(figure(bars), include_plotlyjs=False, full_html=False)) for bars in pictures]
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>\n'
        f"<script>{get_plotlyjs()}</script></head>\n<body><h1>{name}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
