"""Queues against closed forms and discrete events; fleets, traces, tiers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from archsearch.cli.main import run as cli
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.serving.fleet import Fleet, group, plan_fleet, size
from archsearch.serving.queueing import (
    Quantiles,
    Service,
    batch_server,
    deterministic_wait,
    erlang_c,
    exponential_wait,
    mean_batch,
    multi_server,
)
from archsearch.serving.simulation import (
    poisson_arrivals,
    simulate_batch_servers,
    simulate_multi_server,
)
from archsearch.serving.tiers import Rung, draft_then_refine, routed
from archsearch.serving.traffic import Trace, read_trace, size_for_trace
from archsearch.serving.units import Replica, ServiceLevel

REQUESTS = 120_000
P = (np.arange(4000) + 0.5) / 4000


def unit(gpu="h100-sxm", price=4.0, available=None, **batch_s) -> Replica:
    seconds = {int(k[1:]): v for k, v in batch_s.items()} or {1: 2.0}
    return Replica(gpu=load_gpu(gpu), gpus=1, batch_s=seconds, usd_per_hour=price, available=available)


def test_one_deterministic_server_waits_as_pollaczek_and_khinchine_say():
    for utilisation in (0.3, 0.7, 0.95):
        wait = deterministic_wait(utilisation / 2.0, 2.0, 1, P)
        assert wait.mean() == pytest.approx(utilisation / (2 * (1 - utilisation)) * 2.0, rel=0.02)
        assert np.mean(wait > 0) == pytest.approx(utilisation, abs=0.002)  # an arrival waits if the server is busy


def test_exponential_servers_wait_as_erlang_says():
    assert erlang_c(0.8, 1) == pytest.approx(0.8)  # one server: the utilisation
    assert erlang_c(2.0, 3) == pytest.approx(4 / 9)  # 2^3/3!·3 over (1 + 2 + 2) + 2^3/3!·3
    wait = exponential_wait(0.8, 1.0, 1, P)
    assert wait.mean() == pytest.approx(0.8 / 0.2, rel=0.02)


@pytest.mark.parametrize(
    ("servers", "utilisation", "service"),
    [
        (1, 0.6, Service((3.0,))),
        (4, 0.8, Service((5.0,))),
        (16, 0.9, Service((5.0,))),
        (40, 0.93, Service((6.0,))),
        (8, 0.85, Service((2.0, 6.0), (0.7, 0.3))),
        (6, 0.7, Service((1.0, 12.0), (0.8, 0.2))),
    ],
)
def test_calculation_and_simulation_agree_on_several_servers(servers, utilisation, service):
    rate = utilisation * servers / service.mean
    answer = multi_server(rate, service, servers)
    run = simulate_multi_server(poisson_arrivals(rate, REQUESTS, 3), service, servers, 3)
    assert answer.mean == pytest.approx(run.mean, rel=0.05)
    for p in (0.5, 0.95, 0.99):
        assert answer.quantile(p) == pytest.approx(run.quantile(p), rel=0.05)
    assert run.utilisation == pytest.approx(utilisation, rel=0.02)


@pytest.mark.parametrize(
    ("limit", "utilisation", "slope"), [(2, 0.5, 0.7), (4, 0.7, 0.5), (8, 0.8, 0.3), (8, 0.3, 0.9)]
)
def test_calculation_and_simulation_agree_on_batches(limit, utilisation, slope):
    def seconds(batch: int) -> float:
        return 1.0 + slope * (batch - 1)

    rate = utilisation * limit / seconds(limit)
    answer = batch_server(rate, seconds, limit)
    run = simulate_batch_servers(poisson_arrivals(3 * rate, REQUESTS, 5), seconds, limit, 3, 5)
    assert answer.mean == pytest.approx(run.mean, rel=0.05)
    for p in (0.5, 0.95, 0.99):
        assert answer.quantile(p) == pytest.approx(run.quantile(p), rel=0.05)
    assert mean_batch(rate, seconds, limit)[1] == pytest.approx(run.utilisation, rel=0.03)


def test_a_batch_of_one_is_the_single_server():
    one = batch_server(0.4, lambda _: 2.0, 1)
    other = multi_server(0.4, Service((2.0,)), 1)
    for p in (0.5, 0.9, 0.99):
        assert one.quantile(p) == pytest.approx(other.quantile(p), rel=0.03)


def test_too_much_traffic_is_refused():
    with pytest.raises(UnsupportedError, match="the queue grows without end"):
        multi_server(2.0, Service((1.0,)), 2)
    with pytest.raises(UnsupportedError, match="the queue grows without end"):
        batch_server(4.0, lambda b: 0.5 + 0.25 * b, 2)


def test_a_fleet_is_the_least_that_keeps_the_level():
    level = ServiceLevel(p95_s=4.0)
    found = size(unit(), 3.0, level)
    assert level.kept(found.response)
    assert found.number > 7  # seven of them would be busy 6/7 of the time and keep up
    fewer = group(found.replica, 3.0, found.number - 1, found.limit)
    assert not level.kept(fewer.response)
    assert found.utilisation == pytest.approx(3.0 * 2.0 / found.number)


def test_batches_are_used_where_they_raise_throughput():
    flat = size(unit(b1=2.0, b2=4.0, b4=8.0), 3.0, ServiceLevel(p95_s=20.0))
    assert flat.limit == 1
    steep = size(unit(b1=2.0, b2=2.4, b4=3.0), 3.0, ServiceLevel(p95_s=20.0))
    assert steep.limit == 4
    assert steep.number < flat.number


def test_prices_decide_and_pools_mix_where_numbers_are_short():
    cheap = unit("l40s", price=1.0, b1=4.0)
    fast = unit("h100-sxm", price=4.0, b1=2.0)
    best = plan_fleet([fast, cheap], 2.0, ServiceLevel(p95_s=20.0)).best
    assert {g.replica.gpu.id for g in best.groups} == {"l40s"}
    few = unit("l40s", price=1.0, b1=4.0, available=6)
    plan = plan_fleet([fast, few], 2.0, ServiceLevel(p95_s=20.0))
    best = plan.best
    assert {g.replica.gpu.id for g in best.groups} == {"h100-sxm", "l40s"}
    assert "l40s" in plan.refused
    assert best.usd_per_hour == min(f.usd_per_hour for f in plan.considered)
    assert best.rate == pytest.approx(2.0)
    plan = plan_fleet([fast, cheap], 2.0, ServiceLevel(p95_s=3.5))
    assert {g.replica.gpu.id for g in plan.best.groups} == {"h100-sxm"}
    assert "one request alone takes 4 s" in str(plan.refused["l40s"])


def test_fleets_without_a_price_come_last():
    kinds = [unit("mi210", price=None, b1=2.0), unit("l40s", price=1.0, b1=4.0), unit("h100-sxm", price=9.0, b1=2.0)]
    priced = [f.usd_per_hour != float("inf") for f in plan_fleet(kinds, 2.0, ServiceLevel(p95_s=20.0)).ordered]
    assert priced == sorted(priced, reverse=True)
    assert set(priced) == {True, False}


def test_cost_and_energy_are_what_the_groups_spend():
    fleet = Fleet((group(unit(), 3.0, 8, 1),))
    assert fleet.usd_per_hour == 8 * 4.0
    assert fleet.usd_per_output == pytest.approx(32.0 / 3600 / 3.0)
    assert fleet.energy_j_per_output == pytest.approx(700 * 2.0)  # two seconds at 700 W each


def test_a_trace_is_replayed_and_bursts_need_more(tmp_path: Path):
    path = tmp_path / "trace.csv"
    burst = np.concatenate([np.arange(20) * 0.01 + 100.0 * k for k in range(10)])
    path.write_text("arrival_s\n" + "\n".join(f"{t:.3f}" for t in burst))
    trace = read_trace(path)
    assert trace.scv > 5
    replayed = size_for_trace(trace, unit(), ServiceLevel(p95_s=4.5))
    assert replayed.limit == 1
    assert replayed.number == 10  # twenty at once in two rounds of two seconds
    assert replayed.outcome.quantile(0.95) <= 4.5
    steady = Trace(np.arange(200) * 5.0)
    assert size_for_trace(steady, unit(), ServiceLevel(p95_s=4.5)).number == 1
    path.write_text("time\n1\n2\n")
    with pytest.raises(InvalidInputError, match="needs a column 'arrival_s'"):
        read_trace(path)
    path.write_text("arrival_s\n1\nsoon\n")
    with pytest.raises(InvalidInputError, match=r"trace\.csv:3: arrival_s 'soon' is no number"):
        read_trace(path)


def test_tiers_save_what_the_fast_pipeline_is_faster():
    slow, fast = (unit(b1=6.0),), (unit(b1=1.0),)
    level = ServiceLevel(p95_s=20.0)
    ladder = routed([Rung("fast", fast, 0.7), Rung("slow", slow, 0.3)], 2.0, level)
    assert 0.3 < ladder.saved < 0.7 * 5 / 6 + 0.05
    assert ladder.final_response.mean == pytest.approx(
        0.7 * ladder.fleets[0].response.mean + 0.3 * ladder.fleets[1].response.mean
    )
    drafted = draft_then_refine(Rung("fast", fast, 1.0), Rung("slow", slow, 0.25), 2.0, level)
    assert drafted.saved > 0.3
    assert drafted.first_response.mean < drafted.final_response.mean
    with pytest.raises(InvalidInputError, match="sum to 1"):
        routed([Rung("fast", fast, 0.7), Rung("slow", slow, 0.4)], 2.0, level)
    with pytest.raises(InvalidInputError, match="escalate must be a number above 0 and below 1"):
        draft_then_refine(Rung("fast", fast, 1.0), Rung("slow", slow, 1.0), 2.0, level)


def test_quantiles_of_a_mixture():
    mixed = Quantiles.mixture(
        [(0.25, Quantiles(np.array([1.0]), np.ones(1))), (0.75, Quantiles(np.array([3.0]), np.ones(1)))]
    )
    assert mixed.mean == pytest.approx(2.5)
    assert mixed.quantile(0.2) == 1.0
    assert mixed.quantile(0.3) == 3.0


def test_the_command_answers_and_refuses(capsys):
    command = "serve simulate dit-xl-2 --hardware h100-sxm --rate 3 --p95-s 2 --max-batch 1 --json"
    assert cli(command.split()) == 0
    d = json.loads(capsys.readouterr().out)
    assert d["response_s"]["p95"] <= 2.0
    assert all(abs(v) < 0.05 for v in d["simulation"]["calculated_over_simulated"].values())
    assert d["usd_per_output"] > 0
    for bad in (
        "serve fleet flux-dev --hardware h100-sxm --p95-s 2",
        "serve fleet flux-dev --hardware h100-sxm --rate 1 --p95-s 2",
        "serve fleet flux-dev --hardware h100-sxm --rate -1 --p95-s 20",
        "serve fleet flux-dev --hardware h100-sxm=none --rate 1",
        "serve fleet flux-dev --hardware l4 --rate 1 --p95-s 2000",
    ):
        assert cli(bad.split()) == 2, bad
    assert "Traceback" not in capsys.readouterr().err


def test_no_fleet_names_the_reasons():
    with pytest.raises(ArchSearchError, match=r"one request alone takes 2 s"):
        plan_fleet([unit()], 1.0, ServiceLevel(p99_s=1.0))


def test_a_mix_of_sizes_is_served_by_its_own_times(capsys):
    command = "serve simulate dit-xl-2 -g h100-sxm --rate 3 --p95-s 6 --mix 256x256=0.6 --mix 512x512=0.4 --json"
    assert cli(command.split()) == 0
    d = json.loads(capsys.readouterr().out)
    assert d["fleet"][0]["batch_limit"] == 1
    assert all(abs(v) < 0.05 for v in d["simulation"]["calculated_over_simulated"].values())
    for bad in ("--mix 256x256=0.6", "--mix 256=1", "--mix 256x256=2", "--mix 250x256=1"):
        assert cli(["serve", "fleet", "dit-xl-2", "-g", "h100-sxm", "--rate", "3", *bad.split()]) == 2, bad
    assert "Traceback" not in capsys.readouterr().err


def test_a_level_below_the_long_requests_own_time_is_refused():
    mixed = Replica(
        gpu=load_gpu("h100-sxm"), gpus=1, batch_s={1: 4.2}, usd_per_hour=1.0, mix=Service((1.0, 9.0), (0.6, 0.4))
    )
    with pytest.raises(UnsupportedError, match="do not keep the level"):
        size(mixed, 1.0, ServiceLevel(p95_s=5.0))
    assert size(mixed, 1.0, ServiceLevel(p95_s=15.0)).number > 4


def test_video_has_a_price_per_second():
    from archsearch.serving.report import fleet_document

    second = Replica(gpu=load_gpu("h100-sxm"), gpus=1, batch_s={1: 10.0}, usd_per_hour=3.6, video_s=5.0)
    d = fleet_document("video", [second], 1.0, ServiceLevel(p95_s=60.0))
    assert d["usd_per_video_s"] == pytest.approx(d["usd_per_output"] / 5.0)
