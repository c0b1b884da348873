"""Recommendations for people: architectures side by side, why each is one, and what the pool costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archsearch.cli.invocation import next_call
from archsearch.cli.output import (
    changes_line,
    gibibytes,
    millions,
    milliseconds,
    print_table,
    rate,
    say,
    say_prices,
)

if TYPE_CHECKING:
    from archsearch.search.evaluate.advice import Advice, DimensionCost, Gain, OwnChoice, PoolAdvice
    from archsearch.search.evaluate.result import SearchResult
    from archsearch.search.evaluate.setting import Setting

MOST_TWINS = 4
"""Ranks of near twins that a line names."""
Record = dict[str, Any]
"""One architecture as plain values: its config, its metrics, and by GPU what differs between GPUs."""


def print_recommendations(result: SearchResult, records: list[Record]) -> None:
    """Recommendations beside the baseline and the reference, why each is one, and what a pool costs."""
    from archsearch.search.answers.gains import unlike_size

    setting, advice = result.setting, result.advice
    assert advice is not None  # a recommendation has it
    workload = ", ".join(f"{k} {v}" for k, v in setting.workload.model_dump(mode="json", exclude_none=True).items())
    exact = "exact front" if advice.exact else "front of the sampled architectures"
    size = f"{advice.front} architectures, prefers {advice.prefer}"
    say(f"{setting.space} on {', '.join(setting.pool.ids)}: {workload}; {exact}, {size}")
    if setting.changes:
        say(f"set: {changes_line(setting.changes)}")
    if result.study is not None:
        removal = next_call("study", "delete", result.study.name, carried=("--storage",))
        say(f"from study {result.study.name}, nothing was enumerated again (`{removal}` removes it)")
    say(f"execution: {setting.execution.line()}")
    shown = {str(record["rank"]): record for record in records}
    for beside in beside_records(result).values():
        if beside is not None:
            shown.setdefault(str(beside["name"]), beside)
    _print_comparison(shown, setting, advice)
    for record in records:
        say(f"{record['rank']}. {record['why']}{_twins(record['twins'])}")
    for difference in dict.fromkeys(r["hf_difference"] for r in records if r["hf_difference"]):
        ranks = ", ".join(str(r["rank"]) for r in records if r["hf_difference"] == difference)
        say(f"no published class is like rank {ranks}: {difference} (`archsearch build` writes a plain module)")
    _print_gains([gain for gain in advice.gains if gain.rank == records[0]["rank"]])
    if advice.baseline is not None:
        unlike = unlike_size(records[0]["parameters"], advice.baseline.metrics["parameters"])
        if unlike:
            say(f"{advice.baseline.name} is one {unlike}: against it sizes are compared, not shapes")
    if advice.pool is not None:
        _print_own_choices(advice.pool)
        _print_dimensions(advice.pool, setting.pool.ids)
    if setting.in_usd:
        from archsearch.hardware.prices import IN_A_SPACE

        say_prices(setting.economy.quotes, IN_A_SPACE)
    say(f"latencies: {_known(advice.provenance)}")
    quality = setting.quality
    assumed = " (assumed: ranks sizes, not calibrated for this family)" if quality.assumed else ""
    say(f"quality: {quality.proxy}{assumed}, {quality.source}")
    _print_compared(setting, advice)


def beside_records(result: SearchResult) -> dict[str, Record | None]:
    """The ``baseline`` and the ``reference`` beside the recommendations, as records; None where there is none."""
    assert result.advice is not None
    rows = {"baseline": result.advice.baseline, "reference": result.advice.reference}
    return {name: None if row is None else row.record() for name, row in rows.items()}


def _print_compared(setting: Setting, advice: Advice) -> None:
    """Which proxies the ranks by quality are compared over, or why they are not."""
    if advice.compared:
        apart = " (of the architecture: steps and guidance left out)" if advice.run != advice.step else ""
        say(f"ranks by quality on the front are compared over {', '.join(advice.compared)}{apart}")
    else:
        missing = f"no second proxy of another base or source than {setting.quality.proxy}"
        say(f"ranks by quality are not compared: {missing} speaks for family {setting.family}")


def _twins(ranks: Sequence[int]) -> str:
    """How many near twins an architecture has, and how to see them."""
    if not ranks:
        return ""
    shown = ", ".join(map(str, ranks[:MOST_TWINS])) + (" ..." if len(ranks) > MOST_TWINS else "")
    return f"; and {len(ranks)} near twin{'s' if len(ranks) > 1 else ''} (--rank {shown})"


def _known(provenance: Mapping[str, str]) -> str:
    """GPUs by how their latencies are known."""
    words = dict.fromkeys(provenance.values())
    return "; ".join(f"{', '.join(g for g, w in provenance.items() if w == word)} {word}" for word in words)


def _print_gains(gains: Sequence[Gain]) -> None:
    """How much faster one recommendation is than the baseline and the runner-up, and the regret if that is wrong."""
    if not gains:
        return
    rows = [
        (gain.gpu, gain.against, f"{gain.speedup:.3f}", f"{gain.low:.3f}-{gain.high:.3f}", _regret(gain))
        for gain in gains
    ]
    title = (
        f"predicted speed of rank {gains[0].rank} over others; regret: how much faster they are at the band's lower end"
    )
    print_table(title, ["GPU", "than", "speed-up", "80 % band", "regret"], rows, left=("GPU", "than"))


def _regret(gain: Gain) -> str:
    return f"{gain.regret:.1%}" if gain.regret > 0 else "none"


def _print_own_choices(pool: PoolAdvice) -> None:
    """What each GPU alone would choose, GPUs of one mind together."""
    by_config: dict[str, list[OwnChoice]] = {}
    for choice in pool.own_choices:
        config = ", ".join(f"{name} {value}" for name, value in choice.config.items())
        by_config.setdefault("rank 1" if choice.regret == 0 else config, []).append(choice)
    for config, choices in by_config.items():
        regrets = ", ".join(f"{choice.regret:+.1%}" for choice in choices)
        gain = "" if config == "rank 1" else f", for throughput {regrets}"
        say(f"chosen for {', '.join(c.gpu for c in choices)} alone, at no lower quality: {config}{gain}")


def _print_dimensions(pool: PoolAdvice, gpu_ids: Sequence[str]) -> None:
    """Which dimension pays on which GPU, and the price of one architecture for all."""
    if pool.dimensions_pay:
        rows = [(_moved(item), *(f"{item.cost[gpu]:.2f}" for gpu in gpu_ids)) for item in pool.dimensions_pay]
        title = "per cent of latency for 1 % more parameters, around rank 1"
        print_table(title, ["dimension", *gpu_ids], rows, left=("dimension",), beside=True)
    price = pool.one_for_all
    if price is not None and price.worst > 0:
        loss = f"at most {price.worst:.1%} slower than a GPU's own choice ({price.worst_on})"
        say(f"one architecture for all: {loss}, {price.weighted:.1%} over the pool")
    elif price is not None:
        say("one architecture for all costs no GPU anything")


def _print_comparison(shown: dict[str, Record], setting: Setting, advice: Advice) -> None:
    """Architectures side by side, one a column: dimensions, what they cost anywhere, speed on each GPU."""
    columns = {label: _column(record, setting, advice) for label, record in shown.items()}
    titles = dict.fromkeys(title for column in columns.values() for title in column)
    rows = [(title, *(column.get(title) for column in columns.values())) for title in titles]
    print_table("", ["rank", *columns], rows, left=("rank",), beside=True)


def _column(record: Record, setting: Setting, advice: Advice) -> dict[str, object]:
    """One architecture's cells by title."""
    unit, gpu_ids, predicted = setting.throughput_unit, setting.pool.ids, f"predicted {setting.quality.metric}"
    run, step = advice.run, advice.step
    cells = {name: value for name, value in record["config"].items() if name not in setting.fixed}
    beside = {} if advice.baseline is None else advice.baseline.config
    for name in beside:
        if name in setting.fixed:  # the space fixes another value than the baseline's
            cells[name] = record["config"].get(name, setting.fixed[name])
    cells["parameters"] = millions(record["parameters"])
    if "hf_class" in record:
        cells["class"] = record["hf_class"] or "none published"
    if run != step and "pass_flops" in record:
        cells["TFLOPs per pass"] = record["pass_flops"] / 1e12
    cells[f"TFLOPs per {run}"] = record["flops"] / 1e12
    cells["memory, GiB"] = gibibytes(record["memory_bytes"])
    if record["quality"] is None:  # steps or guidance that nobody measured
        cells[predicted] = "unknown"
    else:
        cells[predicted] = f"{record['quality']:.4g}"
        cells["  80 % band"] = f"{record['quality_low']:.4g}-{record['quality_high']:.4g}"
    if "quality_rank_best" in record:
        best, worst = record["quality_rank_best"], record["quality_rank_worst"]
        span = f"{best}" if best == worst else f"{best}-{worst}"
        cells["  rank over proxies"] = f"{span} of {advice.front}"
    if len(gpu_ids) > 1:
        cells["speed-up, worst GPU"] = f"{record['throughput_worst']:.3f}"
        cells["speed-up, pool"] = f"{record['throughput_weighted']:.3f}"
    if "training_hours" in record:
        cells["training, hours"] = f"{record['training_hours']:.4g}"
        if "training_hours_low" in record:  # not in studies stored before the band was
            cells["training, 80 % band"] = f"{record['training_hours_low']:.4g}-{record['training_hours_high']:.4g}"
        cells["training, USD"] = _usd(record["training_usd"])
        cells["training layout"] = record["training_layout"]
        if "training_memory_share" in record:
            cells["training memory"] = f"{record['training_memory_share']:.0%} of each GPU"
    if "lifetime_usd" in record:
        cells["lifetime, USD"] = _usd(record["lifetime_usd"])
    for gpu in gpu_ids:
        cells[f"{gpu}, ms per {run}"] = milliseconds(record["latency_s"][gpu])
        low, high = (milliseconds(record[f"latency_{end}_s"][gpu]) for end in ("low", "high"))
        cells[f"{gpu}, 80 % band"] = f"{low}-{high}"
        cells[f"{gpu}, {unit}"] = rate(record["throughput"][gpu])
    return cells | _other_objectives(record, setting.objectives)


def _other_objectives(record: Record, objectives: Iterable[str]) -> dict[str, object]:
    """The objectives that have no cell yet."""
    from archsearch.search.evaluate.columns import metric_and_gpu

    shown = ["quality", "parameters", "flops", "memory_bytes", "latency_s", "throughput"]
    shown += ["training_hours", "training_usd", "lifetime_usd"]
    shown += ["latency_worst", "latency_weighted", "throughput_worst", "throughput_weighted"]
    cells = {}
    for column in objectives:
        metric, gpu = metric_and_gpu(column)
        value = record.get(metric)
        if metric not in shown and value is not None:
            title = f"{metric}, {gpu}" if gpu else metric
            cells[title] = value.get(gpu) if isinstance(value, dict) else value
    return cells


def _moved(item: DimensionCost) -> str:
    return f"{item.dimension} (with {item.along})" if item.along else item.dimension


def _usd(value: float | None) -> str:
    return "no price" if value is None else f"{value:,.0f}"
