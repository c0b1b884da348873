"""Recommendations for people: architectures side by side, why each is one, and what the pool costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archsearch.cli.output import gibibytes, millions, milliseconds, print_table, rate, say

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]
"""One architecture as plain values: its config, its metrics, and by GPU what differs between GPUs."""
Attributes = dict[str, Any]
"""What holds for a whole table of recommendations (``attrs`` of its frame)."""


def print_recommendations(frame: pd.DataFrame, records: list[Record]) -> None:
    """Recommendations beside the baseline and the reference, why each is one, and what a pool costs."""
    from archsearch.cost.execution import Execution

    attrs: Attributes = {str(key): value for key, value in frame.attrs.items()}
    gpus = list(attrs["hardware"])
    workload = ", ".join(f"{k} {v}" for k, v in attrs["workload"].items() if v is not None)
    exact = "exact front" if attrs["exact"] else "front of the sampled architectures"
    size = f"{attrs['front']} architectures, prefers {attrs['prefer']}"
    say(f"{attrs['space']} on {', '.join(gpus)}: {workload}; {exact}, {size}")
    say(f"execution: {Execution(**attrs['execution']).line()}")
    shown = {str(record["rank"]): record for record in records}
    for beside in (beside_record(frame, "baseline"), beside_record(frame, "reference")):
        if beside is not None:
            shown.setdefault(str(beside["name"]), beside)
    _print_comparison(shown, attrs)
    for record in records:
        say(f"{record['rank']}. {record['why']}")
    for difference in dict.fromkeys(r["hf_difference"] for r in records if r["hf_difference"]):
        ranks = ", ".join(str(r["rank"]) for r in records if r["hf_difference"] == difference)
        say(f"no published class is {ranks}: {difference} (`archsearch build` writes a plain module)")
    _print_pool(attrs.get("pool", []))
    _print_dimensions(attrs)
    say(f"latencies: {_known(attrs['provenance'])}")
    quality = attrs["quality"]
    assumed = " (assumed: ranks sizes, not calibrated for this family)" if quality.get("assumed") else ""
    say(f"quality: {quality['proxy']}{assumed}, {quality['source']}")
    _print_compared(attrs)


def _print_compared(attrs: Attributes) -> None:
    """Which proxies the ranks by quality are compared over, or why they are not."""
    compared = attrs["quality"].get("compared")
    if compared:
        whole = attrs["per"]["run"] != attrs["per"]["step"]
        apart = " (of the architecture: steps and guidance left out)" if whole else ""
        say(f"ranks by quality on the front are compared over {', '.join(compared)}{apart}")
    else:
        missing = f"no second proxy of another base or source than {attrs['quality']['proxy']}"
        say(f"ranks by quality are not compared: {missing} speaks for family {attrs['family']}")


def _known(provenance: dict[str, str]) -> str:
    """GPUs by how their latencies are known."""
    words = dict.fromkeys(provenance.values())
    return "; ".join(f"{', '.join(g for g, w in provenance.items() if w == word)} {word}" for word in words)


def _print_pool(pool: list[dict[str, Any]]) -> None:
    """What each GPU alone would choose, GPUs of one mind together."""
    by_choice: dict[str, list[dict[str, Any]]] = {}
    for item in pool:
        config = ", ".join(f"{name} {value}" for name, value in item["config"].items())
        by_choice.setdefault("rank 1" if item["regret"] == 0 else config, []).append(item)
    for choice, items in by_choice.items():
        regrets = ", ".join(f"{item['regret']:+.1%}" for item in items)
        gain = "" if choice == "rank 1" else f", for throughput {regrets}"
        say(f"chosen for {', '.join(i['gpu'] for i in items)} alone, at no lower quality: {choice}{gain}")


def _print_dimensions(attrs: Attributes) -> None:
    """Which dimension pays on which GPU, and the price of one architecture for all."""
    costs = attrs.get("dimensions_pay") or []
    if costs:
        rows = [(_moved(item), *(f"{item['cost'][gpu]:.2f}" for gpu in attrs["hardware"])) for item in costs]
        title = "per cent of latency for 1 % more parameters, around rank 1"
        print_table(title, ["dimension", *attrs["hardware"]], rows, left=("dimension",))
    price = attrs.get("one_for_all")
    if price and price["worst"] > 0:
        loss = f"at most {price['worst']:.1%} slower than a GPU's own choice ({price['worst_on']})"
        say(f"one architecture for all: {loss}, {price['weighted']:.1%} over the pool")
    elif price:
        say("one architecture for all costs no GPU anything")


def _print_comparison(shown: dict[str, Record], attrs: Attributes) -> None:
    """Architectures side by side, one a column: dimensions, what they cost anywhere, speed on each GPU."""
    columns = {label: _column(record, attrs) for label, record in shown.items()}
    titles = dict.fromkeys(title for column in columns.values() for title in column)
    rows = [(title, *(column.get(title) for column in columns.values())) for title in titles]
    print_table("", ["rank", *columns], rows, left=("rank",))


def _column(record: Record, attrs: Attributes) -> dict[str, Any]:
    """One architecture's cells by title."""
    unit = attrs["throughput_unit"]
    cells = {name: value for name, value in record["config"].items() if name not in attrs["fixed"]}
    cells["parameters"] = millions(record["parameters"])
    if "hf_class" in record:
        cells["class"] = record["hf_class"] or "none published"
    run, step = attrs["per"]["run"], attrs["per"]["step"]
    if run != step and "pass_flops" in record:
        cells["TFLOPs per pass"] = record["pass_flops"] / 1e12
    cells[f"TFLOPs per {run}"] = record["flops"] / 1e12
    cells["memory, GiB"] = gibibytes(record["memory_bytes"])
    if record["quality"] is None:  # steps or guidance that nobody measured
        cells[f"predicted {attrs['quality']['metric']}"] = "unknown"
    else:
        cells[f"predicted {attrs['quality']['metric']}"] = f"{record['quality']:.4g}"
        cells["  80 % band"] = f"{record['quality_low']:.4g}-{record['quality_high']:.4g}"
    if "quality_rank_best" in record:
        best, worst = record["quality_rank_best"], record["quality_rank_worst"]
        span = f"{best}" if best == worst else f"{best}-{worst}"
        cells["  rank over proxies"] = f"{span} of {attrs['front']}"
    if len(attrs["hardware"]) > 1:
        cells["speed-up, worst GPU"] = f"{record['throughput_worst']:.3f}"
        cells["speed-up, pool"] = f"{record['throughput_weighted']:.3f}"
    if "training_hours" in record:
        cells["training, hours"] = f"{record['training_hours']:.4g}"
        cells["training, USD"] = _usd(record["training_usd"])
        cells["training layout"] = record["training_layout"]
    if "lifetime_usd" in record:
        cells["lifetime, USD"] = _usd(record["lifetime_usd"])
    for gpu in attrs["hardware"]:
        cells[f"{gpu}, ms per {run}"] = milliseconds(record["latency_s"][gpu])
        low, high = (milliseconds(record[f"latency_{end}_s"][gpu]) for end in ("low", "high"))
        cells[f"{gpu}, 80 % band"] = f"{low}-{high}"
        cells[f"{gpu}, {unit}"] = rate(record["throughput"][gpu])
    return cells | _other_objectives(record, attrs)


def _other_objectives(record: Record, attrs: Attributes) -> dict[str, Any]:
    """The objectives that have no cell yet."""
    shown = ["quality", "parameters", "flops", "memory_bytes", "latency_s", "throughput"]
    shown += ["training_hours", "training_usd", "lifetime_usd"]
    shown += ["latency_worst", "latency_weighted", "throughput_worst", "throughput_weighted"]
    cells = {}
    for column in attrs["objectives"]:
        stem, _, gpu = column.partition(":")
        value = record.get(stem)
        if stem not in shown and value is not None:
            cells[column.replace(":", ", ")] = value.get(gpu) if isinstance(value, dict) else value
    return cells


def _moved(item: dict[str, Any]) -> str:
    return f"{item['dimension']} (with {item['with']})" if item["with"] else str(item["dimension"])


def _usd(value: float | None) -> str:
    return "no price" if value is None else f"{value:,.0f}"


def beside_record(frame: pd.DataFrame, name: str) -> Record | None:
    """The row ``baseline`` or ``reference`` beside the recommendations, as a record; None where there is none."""
    from archsearch.search.evaluate.frames import plain

    given = frame.attrs.get(name)
    if given is None:
        return None
    record: Record = {}
    for key, value in given.items():
        stem, _, gpu = str(key).partition(":")
        if gpu:
            record.setdefault(stem, {})[gpu] = plain(value)
        else:
            record[stem] = plain(value)
    return record
