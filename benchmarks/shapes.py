"""What another shape of equal size and no lower predicted quality gains: the spaces ``*-shape``, predicted.

python benchmarks/shapes.py [--hardware GPU,GPU]

One row a space and GPU. ``mended`` is the baseline with nothing changed but what is off a multiple of 64 (a vocabulary
or feed-forward rounded up, heads of 128 in place of 80 or 72): of the space's forward pass, of the same with unfused
attention, of a training step. Then rank 1 of ``archsearch recommend`` with the 80 % band of the ratio, and by how much
its loss (FID) is predicted to differ. All in eager PyTorch; nothing here is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

ALIGNED = 64
WIDE_HEAD = 128
UNFUSED: dict[str, object] = {"attention": "eager"}
COLUMNS = ("mended", "unfused", "training", "rank 1", "unfused", "quality")


def mended(config: Any) -> Any:
    """The same model with vocabulary, feed-forward and heads of a width that is a multiple of 64."""
    changes: dict[str, object] = {
        name: -(-getattr(config, name) // ALIGNED) * ALIGNED
        for name in ("vocab_size", "intermediate_size")
        if getattr(config, name, 0) % ALIGNED
    }
    if config.hidden_size // config.num_attention_heads % ALIGNED:
        heads = config.hidden_size // WIDE_HEAD
        changes |= {name: heads for name in ("num_attention_heads", "num_key_value_heads") if hasattr(config, name)}
        if getattr(config, "rotary_dim", None):
            changes["rotary_dim"] = config.rotary_dim * config.num_attention_heads // heads
    return replace(config, **changes)


def gain_of_mending(space: Any, gpu: str, *, trains: bool = False) -> str:
    """How much faster the baseline is where it is mended."""
    from archsearch.cost.model import CostModel
    from archsearch.cost.ratio import ratio_of
    from archsearch.hardware import load_gpu
    from archsearch.search.evaluate.evaluator import Evaluator
    from archsearch.search.evaluate.pool_models import resolve_pool
    from archsearch.workload import Phase

    naive: Any = Evaluator(space, resolve_pool(gpu, space)).baseline_config()
    work = replace(space.workload, phase=Phase.TRAIN) if trains else space.workload
    model = CostModel(load_gpu(gpu))
    ratio = ratio_of(*(model.price(config, work, space.execution) for config in (naive, mended(naive))))
    return f"{float(ratio.value) - 1:+.1%}"


def gain_of_rank_1(space: Any, gpu: str) -> tuple[str, float]:
    """How much faster rank 1 is than the baseline, with the band; how its predicted quality differs."""
    from archsearch.search.answers.recommend import recommend

    found = recommend(space, gpu, top=1, progress=False)
    (gain,) = found.attrs["gains"]
    ends = " to ".join(f"{gain[end] - 1:+.0%}" for end in ("low", "high"))
    difference = float(found["quality"].iloc[0]) - float(found.attrs["baseline"]["quality"])
    return f"{gain['speedup'] - 1:+.1%} ({ends})", difference


def row(name: str, gpu: str) -> list[str]:
    """One line of the table."""
    from archsearch.search.space.space import load_space

    space = load_space(name)
    unfused = space.with_execution(None, UNFUSED)
    cells = [gain_of_mending(space, gpu), gain_of_mending(unfused, gpu), gain_of_mending(space, gpu, trains=True)]
    best, differences = zip(*(gain_of_rank_1(each, gpu) for each in (space, unfused)), strict=True)
    quality = " / ".join(dict.fromkeys(f"{difference:+.3f}" for difference in differences))
    return [f"`{name}`", gpu, *cells, *best, quality]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default="a100-sxm-80gb,h100-sxm")
    gpus = parser.parse_args(arguments).hardware.split(",")
    from archsearch.search.space.space import list_spaces

    print(f"| space | GPU | {' | '.join(COLUMNS)} |")
    print(f"| --- | --- | {' | '.join('---:' for _ in COLUMNS)} |")
    for name in (name for name in list_spaces() if name.endswith("-shape")):
        for gpu in gpus:
            print(f"| {' | '.join(row(name, gpu))} |")


if __name__ == "__main__":
    main()
