"""What whole runs have beside their kernels in the band."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archsearch.cost.model import CostModel, price_on
from archsearch.cost.spread import spread_record, spread_records
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload

TEXT = Workload(seq_len=512)
IMAGE = Workload(height=1024, width=1024)
RUNS = {
    "encoder": ("bert-base", TEXT),
    "language": ("llama-3-8b", replace(TEXT, phase=Phase.PREFILL)),
    "training": ("llama-3-8b", replace(TEXT, phase=Phase.TRAIN)),
    "image": ("flux1-dev", IMAGE),
    "video": ("wan2.1-1.3b", Workload(height=480, width=832, frames=81)),
    "other": ("flux-vae", replace(IMAGE, phase=Phase.DECODE)),
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_band_of_a_run_holds_the_spread_of_its_kind_beside_its_kernels(kind):
    name, work = RUNS[kind]
    config, model = load_preset(name), CostModel(load_gpu("h100-sxm"))
    whole, kernels = model.price(config, work), model.price(config, work, spread=0.0)
    record = spread_record(config, work)
    assert record.kind == kind
    assert whole.latency_s == kernels.latency_s
    assert whole.provenance == kernels.provenance
    if len(whole.segments) > 1:
        return  # each segment is widened by itself
    for end in ("low_s", "high_s"):
        wide, narrow = (np.log(float(getattr(e, end)) / float(e.latency_s)) for e in (whole, kernels))
        assert wide**2 == pytest.approx(narrow**2 + record.log_spread**2, rel=1e-9)
        assert np.sign(wide) == np.sign(narrow)
    (again,) = price_on({"h100": model}, config, work).values()
    assert (again.low_s, again.high_s) == (whole.low_s, whole.high_s)


def test_every_kind_says_how_many_runs_it_was_read_from():
    assert {r.kind for r in spread_records()} == set(RUNS)
    assert all((r.rows > 10) != (r.kind == "other") for r in spread_records())
    assert max(r.log_spread for r in spread_records()) == spread_records()[-1].log_spread
