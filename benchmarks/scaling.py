"""Growth of exhaustive enumeration: architectures per second and memory over spaces of 10^4 to 10^8 decoders.

Every cell of these spaces is a legal decoder (widths are products of free factors), so cells and architectures are the
same. Each size runs in a process of its own, so that its peak memory is its own.

python benchmarks/scaling.py [--hardware GPU[,GPU...]] [--largest 8]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SPACE = """
name: scaling
description: Llama-style decoders of many widths and depths, every combination legal.
family: decoder
fixed: {{max_position_embeddings: 8192, tie_word_embeddings: true}}
dimensions:
  vocab_size: {{choices: [{vocabularies}]}}
  head_dim: {{choices: [64, 128]}}
  queries_per_kv: {{choices: [1, 2, 4, 8]}}
  num_key_value_heads: {{range: [1, {kv_heads}]}}
  intermediate_size: {{range: [2048, {intermediate}], step: 64}}
  num_layers: {{range: [1, {layers}]}}
derived:
  num_attention_heads: num_key_value_heads * queries_per_kv
  hidden_size: num_key_value_heads * queries_per_kv * head_dim
workload: {{phase: prefill, batch_size: 8, seq_len: 2048, dtype: bf16}}
execution: {{compiled: true}}
quality: {{proxy: chinchilla-besiroglu, tokens: 4.0e+11}}
"""
SIZES = {  # exponent: vocabularies, kv heads, widths of the feed-forward layer, layers
    4: (1, 5, 10, 25),
    5: (1, 10, 25, 50),
    6: (2, 16, 78, 50),
    7: (4, 16, 195, 100),
    8: (5, 25, 1000, 100),
}


def space(exponent: int) -> str:
    vocabularies, kv_heads, widths, layers = SIZES[exponent]
    listed = ", ".join(str(32000 * 2**i) for i in range(vocabularies))
    return SPACE.format(vocabularies=listed, kv_heads=kv_heads, intermediate=2048 + 64 * (widths - 1), layers=layers)


def one(exponent: int, hardware: str) -> None:
    from archsearch.search.explore.enumeration import sweep

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "scaling.yaml"
        path.write_text(space(exponent))
        answer = sweep(str(path), hardware, progress=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{answer.architectures:>12,} architectures ({answer.legal:,} legal)  {answer.evaluation_s:8.2f} s  "
        f"{answer.architectures_per_s:>11,.0f}/s  {peak:6.3f} GiB  front {len(answer.front_cells):,}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default="h100-sxm")
    parser.add_argument("--largest", type=int, default=8, choices=sorted(SIZES), help="exponent of the last space")
    parser.add_argument("--only", type=int, choices=sorted(SIZES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        one(options.only, options.hardware)
        return
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; {options.hardware}")
    for exponent in range(4, options.largest + 1):
        command = [sys.executable, __file__, "--only", str(exponent), "--hardware", options.hardware]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
