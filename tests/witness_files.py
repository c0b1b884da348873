"""Files that witnesses name: small spaces, a user's code, profiles, stored studies, tables."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from archsearch.cli.main import run
from archsearch.data import data_path

SPACE = {
    "name": "tiny",
    "description": "Small decoders.",
    "family": "decoder",
    "fixed": {"vocab_size": 1024, "max_position_embeddings": 256, "tie_word_embeddings": True},
    "dimensions": {
        "hidden_size": {"range": [128, 512], "step": 128},
        "intermediate_size": {"choices": [512, 1024, 2048]},
        "num_layers": {"choices": [2, 4]},
    },
    "derived": {"num_attention_heads": "hidden_size // 64", "num_key_value_heads": "num_attention_heads"},
    "workload": {"phase": "forward", "batch_size": 2, "seq_len": 64, "dtype": "bf16"},
    "quality": {"proxy": "chinchilla-besiroglu", "tokens": 1e9},
    "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    "hardware": ["a100-sxm-80gb"],
    "baseline": {
        **{"num_layers": 2, "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 4},
        **{"intermediate_size": 1024, "vocab_size": 1024, "max_position_embeddings": 256, "tie_word_embeddings": True},
    },
}
DITS = {
    "name": "dits",
    "description": "Small diffusion transformers.",
    "family": "dit",
    "fixed": {"patch_size": 2, "in_channels": 4},
    "dimensions": {
        "hidden_size": {"range": [256, 512], "step": 128},
        "intermediate_size": {"choices": [1024, 1536, 2048]},
        "num_layers": {"choices": [2, 4]},
    },
    "derived": {"num_attention_heads": "hidden_size // 64"},
    "workload": {"phase": "forward", "batch_size": 64, "height": 256, "width": 256, "dtype": "bf16"},
    "quality": {"proxy": "dit-fid"},
    "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    "hardware": ["a100-sxm-80gb"],
    "baseline": "dit-s-2",
}
BUILT = {
    "name": "built",
    "description": "A module of the user's.",
    "builder": "{mine}:build",
    "dimensions": {"wide": {"choices": [128, 256]}, "depth": {"choices": [1, 2]}},
    "workload": {"batch_size": 2, "seq_len": 32, "dtype": "bf16"},
    "quality": {"proxy": "chinchilla-besiroglu", "tokens": 1e9},
    "hardware": ["h100-sxm"],
    "baseline": {"wide": 128, "depth": 1},
}
MINE = """
import torch
from torch import nn


def build(wide=128, depth=1, batch_size=1, seq_len=64, dtype=torch.bfloat16):
    layers = nn.Sequential(*(nn.Linear(wide, wide) for _ in range(depth))).to(dtype)
    return layers, {"input": torch.zeros(batch_size, seq_len, wide, dtype=dtype)}


tower = build


def train(config, report):
    for step in (1, 3, 9, 27):
        loss = config["hidden_size"] / 100 + 1 / step
        report(step, loss)
    return loss


def other(config, report):
    report(1, 1 / config["num_layers"])
    return 1 / config["num_layers"]
"""


def make_files(folder: Path) -> dict[str, str]:
    """The files below ``folder``, by the names that witnesses give them."""

    def write(name: str, text: str) -> str:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    mine = write("mine.py", MINE)
    found = {"mine": mine, "space": write("tiny.yaml", yaml.safe_dump(SPACE))}
    found["dits"] = write("dits.yaml", yaml.safe_dump(DITS))
    narrow = DITS | {"name": "narrow", "workload": {**DITS["workload"], "dtype": "fp8"}, "hardware": ["h100-sxm"]}
    found["narrow"] = write("narrow.yaml", yaml.safe_dump(narrow))
    found["built"] = write("built.yaml", yaml.safe_dump(BUILT).replace("{mine}", mine))
    found["profiles"] = str(_profiles(folder / "profiles"))
    found["store"] = str(folder / "store.journal")
    found["text"] = write("text.txt", "Sphinx of black quartz, judge my vow. " * 3000)
    found["arrivals"] = write(
        "arrivals.csv", "arrival_s\n" + "\n".join(str(i // 8 * 6 + i % 8 * 0.01) for i in range(200))
    )
    found |= _tables(folder)
    for name, call in CALLS.items():
        found[name] = write(f"{name}.json", answered(call.format(**found)))
    for call in STUDIES:
        answered(call.format(**found))
    return found


CALLS = {
    "answer_a": "estimate bert-base -g h100-sxm -s 64 --launch-us 0",
    "answer_b": "estimate bert-base -g h100-sxm -s 64 --launch-us 0 --compiled",
}
STUDIES = (
    "study run {space} --name done --storage {store}",
    "study run {space} --name sampled --storage {store} --strategy random --trials 4",
    "study create {space} --name trained --storage {store} --objective train --trainer {mine}:train --keep 1",
    "study create {space} -g own-gpu --profiles {profiles} --name own --storage {store} --strategy random",
)


def answered(call: str) -> str:
    """What a call prints.

    Raises:
        AssertionError: it was refused.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([*call.split(), "--json"])
    assert status == 0, f"{call}: {err.getvalue()}"
    return out.getvalue()


def _profiles(folder: Path) -> Path:
    """An H100 of half the bandwidth, a GPU of the user's own, and one with peaks that nobody has checked."""
    folder.mkdir()
    shipped = yaml.safe_load((data_path("hardware_profiles") / "h100-sxm.yaml").read_text())
    shipped["memory"]["bandwidth_gb_s"] /= 2
    shipped["memory"]["data_rate_gbps"] /= 2
    (folder / "h100-sxm.yaml").write_text(yaml.safe_dump(shipped))
    own = {**shipped, "id": "own-gpu", "name": "Own GPU", "aliases": []}
    (folder / "own-gpu.yaml").write_text(yaml.safe_dump(own))
    guessed = {**own, "id": "guessed-gpu", "name": "Guessed GPU", "unchecked": ["bf16"]}
    (folder / "guessed-gpu.yaml").write_text(yaml.safe_dump(guessed))
    return folder


def _tables(folder: Path) -> dict[str, str]:
    """Measured products, configs of decoders, and rows of ``bench run`` as a made-up device would write them."""
    shapes = [(m, n, k) for m in (256, 1024) for n in (512, 4096) for k in (512, 2048)]
    measured = pd.DataFrame(shapes, columns=["m", "n", "k"]).assign(
        gpu="h100-sxm", op="linear", dtype="bf16", batch=1, latency_us=20.0, split=["fit", "test"] * 4
    )
    configs = [
        {
            "num_layers": d,
            "hidden_size": 64 * w,
            "num_attention_heads": w,
            "intermediate_size": 256 * w,
            "vocab_size": 512,
        }
        for d, w in ((2, 2), (1, 4))
    ]
    rng = np.random.default_rng(0)
    rows = [
        {"op": "copy", "dtype": "bf16", "rows": r, "cols": c, "split": "test" if c in (768, 3072, 6144) else "fit"}
        for c in (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
        for r in (4096, 16384, 65536)
    ]
    copies = pd.DataFrame(rows)
    micros = (3e-6 + 4 * copies["rows"] * copies["cols"] / 1.1e12) * np.exp(0.02 * rng.normal(size=len(copies))) * 1e6
    told = {"gpu": "a100-sxm-80gb", "buffers": 64, "purpose": "memory", "device": "made up", "torch": "0"}
    copies = copies.assign(latency_us=micros, warm_us=micros, key=copies.index.astype(str), **told)
    (folder / "rows").mkdir()
    found = {"measured": measured, "shapes": pd.DataFrame(configs), "rows": copies, "rows/rows": copies}
    for name, table in found.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return {n: str(folder / f"{n}.csv") for n in ("measured", "shapes", "rows")} | {"rows_dir": str(folder / "rows")}
