"""What another shape of equal size and no lower predicted quality gains: the spaces ``*-shape``, predicted.

python benchmarks/shapes.py [--hardware GPU,GPU]

One row a space and GPU. A gain is that of rank 1 of ``archsearch recommend`` over the baseline in eager PyTorch, with
the 80 % band of the ratio; ``quality`` is how much lower rank 1's loss (FID) is predicted. Nothing here is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

RUNS: dict[str, dict[str, object]] = {"fused attention": {}, "unfused attention": {"attention": "eager"}}
"""Columns: what of the spaces' execution is changed."""


def answer(space: Any, gpu: str) -> tuple[float, str]:
    """Rank 1 beside the baseline on one GPU: how its predicted quality differs, and its gain with the band."""
    from archsearch.search.answers.recommend import recommend

    found = recommend(space, gpu, top=1, progress=False)
    difference = float(found["quality"].iloc[0]) - float(found.attrs["baseline"]["quality"])
    (gain,) = found.attrs["gains"]
    ends = " to ".join(f"{gain[end] - 1:+.0%}" for end in ("low", "high"))
    return difference, f"{gain['speedup'] - 1:+.1%} ({ends})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default="a100-sxm-80gb,h100-sxm")
    gpus = parser.parse_args(arguments).hardware.split(",")
    from archsearch.search.space.space import list_spaces, load_space

    print(f"| space | GPU | {' | '.join(RUNS)} | quality |")
    print(f"| --- | --- | {' | '.join('---:' for _ in RUNS)} | ---: |")
    for name in (name for name in list_spaces() if name.endswith("-shape")):
        space = load_space(name)
        for gpu in gpus:
            answers = [answer(space.with_execution(None, changes), gpu) for changes in RUNS.values()]
            quality = " / ".join(dict.fromkeys(f"{difference:+.3f}" for difference, _ in answers))
            print(f"| `{name}` | {gpu} | {' | '.join(gain for _, gain in answers)} | {quality} |")


if __name__ == "__main__":
    main()
