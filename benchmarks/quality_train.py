"""Train a designed grid of tiny decoders and write their held-out losses, for checking quality proxies.

    python benchmarks/quality_train.py --device cuda --output quality_decoders.csv --budget-seconds 150

Needs torch and NumPy only (the package need not be installed). The grid has shapes in two groups of equal non-embedding
parameters (depth, width, heads apart from width, feed-forward) and a full factorial of depth, width, heads and
feed-forward ratio. Every shape sees the same bytes. A row is written when its shape is done; a run that is cut
off keeps what it has, and a run into a file that holds rows goes on with what is missing.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import importlib.util
import itertools
import platform
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

CORE = Path(__file__).resolve().parents[1] / "archsearch" / "quality" / "tiny_decoders.py"
COLUMNS = [
    *("group", "num_layers", "hidden_size", "num_attention_heads", "head_dim", "intermediate_size"),
    *("non_embedding_parameters", "tokens", "seed", "learning_rate", "loss", "train_s"),
    *("device", "torch", "corpus", "date"),
]


def core() -> ModuleType:
    """The trainer's module, from its file: importing the package would need its other dependencies."""
    spec = importlib.util.spec_from_file_location("tiny_decoders", CORE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_decoders"] = module
    spec.loader.exec_module(module)
    return module


def grid(unit: int) -> list[tuple[str, dict[str, int]]]:
    """(group, dimensions) of all shapes; widths are multiples of ``unit``, which is the head_dim of the factorial.

    In an equal-parameter group the feed-forward takes what depth, width and heads leave of the budget.
    """
    shapes: list[tuple[str, dict[str, int]]] = []
    # layers, hidden_size / unit, heads of head_dim unit; 48 and 18.75 layers of 12 unit^2 weights each, times ~32
    large = [(2, 8, 8), (3, 6, 8), (4, 6, 5), (8, 4, 4), (12, 3.5, 3), (16, 3, 3), (24, 2.5, 2)]
    large += [(8, 4, 1), (8, 4, 2), (8, 4, 8), (4, 8, 2), (8, 6, 2)]
    small = [(2, 5, 5), (3, 4, 4), (4, 3.5, 3), (6, 3, 3), (8, 2.5, 2), (12, 2, 2), (16, 1.75, 2)]
    small += [(6, 3, 1), (6, 3, 2), (6, 3, 6), (3, 5, 2), (6, 4, 1)]
    for name, budget, members in (("equal-large", 1536, large), ("equal-small", 576, small)):
        for layers, width, heads in members:
            hidden = int(width * unit)
            attention = 4 * hidden * heads * unit
            wide = (budget * unit * unit / layers - attention) / (2 * hidden)
            shapes.append((name, _shape(layers, hidden, heads, unit, 8 * max(round(wide / 8), 1))))
    for layers, width, heads, ratio in itertools.product((4, 6), (2, 4, 8), (3, 5, 8), (2, 4)):
        shapes.append((f"width-{width * unit}", _shape(layers, width * unit, heads, unit, ratio * width * unit)))
    # interleaved, so that a run that is cut off has seen something of every group
    return [shape for start in range(5) for shape in shapes[start::5]]


def _shape(layers: int, hidden: int, heads: int, head_dim: int, wide: int) -> dict[str, int]:
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "head_dim": head_dim,
        "intermediate_size": wide,
    }


def done_rows(path: Path) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(*(row[c] for c in COLUMNS[1:6]), row["seed"]) for row in csv.DictReader(file)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="start no shape after that")
    parser.add_argument("--unit", type=int, help="head_dim, and the step of widths (default: 32 on a GPU, 16 on a CPU)")
    parser.add_argument("--steps", type=int, help="default: 2500 on a GPU, 2000 on a CPU")
    parser.add_argument("--batch-size", type=int, help="default: 16 on a GPU, 8 on a CPU")
    parser.add_argument("--seq-len", type=int, help="default: 256 on a GPU, 128 on a CPU")
    parser.add_argument("--seeds", type=int, nargs="+", help="copies (default: 0 1 on a GPU, 0 on a CPU)")
    parser.add_argument("--rates", type=float, nargs="+", help="base learning rates, each for every seed")
    parser.add_argument("--passes", type=int, default=1, help="run the grid again with new seeds while time is left")
    parser.add_argument("--groups", nargs="+", help="only these groups (default on a CPU: equal-small width-64)")
    parser.add_argument("--limit", type=int, help="only the first so many shapes")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs")
    return parser.parse_args()


def main() -> None:
    start = time.perf_counter()
    args = _options()
    import torch

    torch.set_num_threads(args.threads)
    tiny = core()
    gpu = args.device == "cuda"
    corpus = tiny.python_corpus()
    seeds = tuple(args.seeds or ((0, 1) if gpu else (0,)))
    common = {
        "device": torch.cuda.get_device_name() if gpu else f"{platform.processor() or platform.machine()} CPU",
        "torch": torch.__version__,
        "corpus": f"python-{platform.python_version()}-{corpus.fingerprint}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    groups = args.groups or (None if gpu else ["equal-small", "width-64"])
    shapes = [shape for shape in grid(args.unit or (32 if gpu else 16)) if groups is None or shape[0] in groups]
    shapes = shapes[: args.limit]
    for number in range(args.passes):
        recipe = tiny.Recipe(
            steps=args.steps or (2500 if gpu else 2000),
            batch_size=args.batch_size or (16 if gpu else 8),
            seq_len=args.seq_len or (256 if gpu else 128),
            learning_rates=tuple(args.rates or (4e-3,)),
            seeds=tuple(seed + number * (max(seeds) + 1) for seed in seeds),
            evaluation_windows=512 if gpu else 256,
            graphs=not args.eager,
        )
        finished = done_rows(args.output)
        for group, sizes in shapes:
            if all((*(str(v) for v in sizes.values()), str(seed)) in finished for seed in recipe.seeds):
                continue
            if time.perf_counter() - start > args.budget_seconds:
                print(f"budget of {args.budget_seconds:g} s spent", file=sys.stderr)
                return
            _one(tiny, group, sizes, recipe, corpus, args, common, start)


def _one(
    tiny: Any, group: str, sizes: dict[str, int], recipe: Any, corpus: Any, args: Any, common: Any, start: float
) -> None:
    """Train one shape and append its rows, one per copy."""
    shape = tiny.Shape(**sizes)
    result = tiny.train(shape, recipe, corpus, args.device)
    fresh = not args.output.exists()
    with args.output.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        for (seed, rate), loss in zip(recipe.copies, result.losses, strict=True):
            own = {"group": group, "seed": seed, "learning_rate": rate, "loss": f"{loss:.5f}"}
            counts = {"non_embedding_parameters": shape.non_embedding_parameters, "tokens": recipe.tokens}
            writer.writerow({**own, **sizes, **counts, **common, "train_s": f"{result.train_s:.2f}"})
    losses = " ".join(f"{loss:.4f}" for loss in result.losses)
    spent = time.perf_counter() - start
    print(f"{spent:6.1f} s  {group:12} {list(sizes.values())}  {result.train_s:.1f} s  {losses}", flush=True)
    gc.collect()


if __name__ == "__main__":
    main()
