"""How well quality proxies rank: our trained decoders, published tables, and within groups of equal size.

    python benchmarks/quality.py                       # measured table and published tables, a minute
    python benchmarks/quality.py --train               # trains the decoders first (CPU, half an hour)
    python benchmarks/quality.py --train --device cuda
    python benchmarks/quality.py --only ranks|diffusion|residuals
    python benchmarks/quality.py --only order|regret|terms|bands --evidence ../shared/quality_tables

Prints Markdown tables (docs/quality.md holds them) and writes the correlations to benchmarks/results. With ``--only``
it prints one table and writes nothing; scores at initialisation, which take torch a minute, are then those on file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import quality_bands
import quality_equal_size

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SHAPE = ["num_layers", "hidden_size", "num_attention_heads", "head_dim", "intermediate_size"]
ANY = "dit-fid-any-patch"
DIFFUSION = ("latent-diffusion-fid", "latent-diffusion-fid-512", ANY, "dit-loss")
FITTED = ("dit",)
"""Tables that the laws of FID are fitted to."""
LAWS = ("chinchilla-besiroglu", "kaplan", "aspect-ratio", "conditional", "shape-aware", "depth-aware", "ensemble")


def measured_table(path: Path) -> pd.DataFrame:
    """One row per shape: mean held-out loss over seeds at the best learning rate."""
    rows = pd.read_csv(path)
    mean = rows.groupby(["group", *SHAPE, "non_embedding_parameters", "tokens", "learning_rate"], as_index=False).agg(
        loss=("loss", "mean"), spread=("loss", "std"), seeds=("loss", "size")
    )
    return mean.sort_values("loss").drop_duplicates(SHAPE).sort_values(["group", *SHAPE]).reset_index(drop=True)


def as_configs(table: pd.DataFrame, **fixed: Any) -> pd.DataFrame:
    return table[SHAPE].assign(family="decoder", gated_mlp=False, positions="learned", **fixed)


def proxies(table: pd.DataFrame, tokens: Any) -> dict[str, np.ndarray]:
    """Predicted columns by proxy, larger is worse. The first two are counts, the baselines."""
    from archsearch.quality.table import predict_frame

    configs = as_configs(table, vocab_size=256, max_position_embeddings=256)  # as they were trained
    hidden, layers = table["hidden_size"].to_numpy(float), table["num_layers"].to_numpy(float)
    mlp = 2 * hidden * table["intermediate_size"].to_numpy(float)
    answer = {
        "weights, attention as wide as the model": -layers * (4 * hidden**2 + mlp),
        "weights, attention's own width": -table["non_embedding_parameters"].to_numpy(float),
    }
    for name in LAWS:
        answer[name] = predict_frame(configs, proxy=name, tokens=tokens)["predicted_loss"].to_numpy(float)
    answer["shape-aware, fitted without these decoders"] = elsewhere(table, tokens)
    return answer


def elsewhere(table: pd.DataFrame, tokens: float) -> np.ndarray:
    """Losses [N] with the shape terms that Gemstones and arXiv 2510.18245 alone give."""
    import quality_fit

    from archsearch.quality.forms import FORMS
    from archsearch.quality.laws import published_laws

    hidden, layers = table["hidden_size"].to_numpy(float), table["num_layers"].to_numpy(float)
    width = (table["num_attention_heads"] * table["head_dim"]).to_numpy(float)
    features = {
        "attention_parameters": 4 * layers * hidden * width,
        "mlp_parameters": 2 * layers * hidden * table["intermediate_size"].to_numpy(float),
        "embedding_parameters": 2 * 256 * hidden,
        "hidden_size": hidden,
        "tokens": tokens,
    }
    law: Any = published_laws()["shape-aware"]
    return FORMS["shape"].value({**law.record.constants, **quality_fit.fit(use_decoders=False)[0]}, features)


def training_free(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores at initialisation, sign turned: larger is worse."""
    from archsearch.quality.tiny_decoders import Shape
    from archsearch.quality.training_free import SCORES, scores

    found = [scores(Shape(*map(int, row))) for row in table[SHAPE].itertuples(index=False)]
    return {f"{name} (training-free)": -np.array([row[name] for row in found]) for name in SCORES if name != "weights"}


def correlations(table: pd.DataFrame, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    from archsearch.quality.rank_agreement import rank_correlation, within_groups

    loss = table["loss"].to_numpy(float)
    equal = table["group"].str.startswith("equal").to_numpy()
    records = []
    for name, predicted in columns.items():
        parts = {
            "all": rank_correlation(predicted, loss),
            "equal size": within_groups(predicted[equal], loss[equal], table["group"][equal].tolist())
            if equal.any()
            else None,
            "fixed hidden_size": within_groups(predicted[~equal], loss[~equal], table["group"][~equal].tolist()),
        }
        for part, value in parts.items():
            if value is not None:
                records.append({"proxy": name, "part": part, **_flat(value)})
    return pd.DataFrame(records)


def _flat(value: Any) -> dict[str, Any]:
    return {
        "count": value.count,
        "kendall": value.kendall,
        "kendall_low": value.kendall_interval[0],
        "kendall_high": value.kendall_interval[1],
        "spearman": value.spearman,
        "spearman_low": value.spearman_interval[0],
        "spearman_high": value.spearman_interval[1],
    }


def markdown(frame: pd.DataFrame) -> str:
    """One line per proxy, one pair of columns per part: Spearman and Kendall with 80 % intervals."""
    parts = list(dict.fromkeys(frame["part"]))
    lines = ["| proxy | " + " | ".join(f"{part}: Spearman, Kendall" for part in parts) + " |"]
    lines.append("| --- |" + " ---: |" * len(parts))
    for name in dict.fromkeys(frame["proxy"]):
        cells = []
        for part in parts:
            row = frame[(frame["proxy"] == name) & (frame["part"] == part)].iloc[0]
            rho = f"{row['spearman']:.3f} ({row['spearman_low']:.2f} to {row['spearman_high']:.2f})"
            cells.append(f"{rho}, {row['kendall']:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def published() -> pd.DataFrame:
    """Spearman of each proxy with published scores; Gemstones from the laws' own table."""
    import yaml

    from archsearch.models.registry.families import load_preset
    from archsearch.quality import get_proxy, training_features
    from archsearch.quality.rank_agreement import correlation
    from archsearch.workload import Workload

    records = []
    for entry in yaml.safe_load((HERE / "published_quality.yaml").read_text()):
        models = {name: load_preset(name) for name in entry["rows"]}
        family = next(iter(models.values())).family
        names = LAWS if family == "decoder" else DIFFUSION
        score = np.array(list(entry["rows"].values())) * (1 if entry["better"] == "low" else -1)
        for name in names:
            law = get_proxy(name)
            sizes = {"height": 256, "width": 256} if "flops" in law.features else None
            value = [
                float(law.predict(training_features(m, law, Workload(**(sizes or dict(m.default_sizes))), {})).value)
                for m in models.values()
            ]
            tau, rho = correlation(np.array(value), score)
            records.append(
                {"table": entry["name"], "models": len(models), "proxy": name, "spearman": rho, "kendall": tau}
            )
    return pd.concat([pd.DataFrame(records), gemstones()], ignore_index=True)


def gemstones() -> pd.DataFrame:
    """The twenty decoders of arXiv 2502.06857 at 99 B tokens; three laws have shape terms fitted to them."""
    from archsearch.quality.laws import published_laws
    from archsearch.quality.rank_agreement import correlation
    from archsearch.quality.table import predict_frame

    table = published_laws()["shape-aware"].record.table
    rows = pd.DataFrame(table.rows, columns=list(table.columns))
    heads = rows["hidden_size"] // 128
    configs = pd.DataFrame(
        {
            "family": "decoder",
            "num_layers": rows["num_layers"].astype(int),
            "hidden_size": rows["hidden_size"].astype(int),
            "num_attention_heads": heads.astype(int),
            "num_key_value_heads": (heads // 2).clip(lower=1).astype(int),
            "head_dim": 128,
            "intermediate_size": 4 * rows["hidden_size"].astype(int),
            "vocab_size": 50304,
        }
    )
    records = []
    for name in LAWS:
        value = predict_frame(configs, proxy=name, tokens=9.9e10)["predicted_loss"].to_numpy(float)
        tau, rho = correlation(value, rows["loss"].to_numpy(float))
        records.append({"table": "gemstones", "models": len(rows), "proxy": name, "spearman": rho, "kendall": tau})
    return pd.DataFrame(records)


def dit_residuals() -> pd.DataFrame:
    """ln of published over predicted FID of DiT's twelve models, for the law of all patches and that of patch 2."""
    from archsearch.models.registry.families import load_preset
    from archsearch.quality import get_proxy, training_features
    from archsearch.quality.laws import published_laws
    from archsearch.workload import Workload

    table: Any = published_laws()["dit-fid"].record.table
    records = []
    for size, patch, _, _, fid in table.rows:
        config = load_preset(f"dit-{size.lower()}-{int(patch)}")
        record: dict[str, Any] = {"model": f"DiT-{size}/{int(patch)}", "FID": fid}
        for name in ("dit-fid-any-patch", "dit-fid"):
            law = get_proxy(name)
            answer = law.predict(training_features(config, law, Workload(height=256, width=256), {}))
            record[name] = float(np.log(fid / answer.value)) if name != "dit-fid" or patch == 2 else np.nan
        records.append(record)
    return pd.DataFrame(records)


def ranks() -> str:
    """How the laws rank the measured decoders today, beside the training-free scores on file."""
    file = RESULTS / "quality_decoders_gpu.csv"
    table = measured_table(file)
    checks = correlations(table, proxies(table, float(pd.read_csv(file)["tokens"].iloc[0]))).query("part != 'all'")
    kept = pd.read_csv(RESULTS / "quality_checks.csv").query("part != 'all' and proxy.str.contains('training-free')")
    return markdown(pd.concat([checks, kept], ignore_index=True))


def spearman_table(names: Sequence[str]) -> str:
    """Published tables in lines, those laws in columns: Spearman."""
    found = published()
    found = found[found["proxy"].isin(names) & ~found["table"].isin(FITTED)]
    lines = [f"| table (models) | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    for (name, models), part in found.groupby(["table", "models"], sort=False):
        values = part.set_index("proxy")["spearman"]
        lines.append(f"| {name} ({models}) | {' | '.join(f'{values[n]:.3g}' for n in names)} |")
    return "\n".join(lines)


def residuals() -> str:
    """A sentence: residuals of the law of all patches."""
    rows = dit_residuals()
    told = ", ".join(f"{m.removeprefix('DiT-')} {v:.2f}" for m, v in zip(rows["model"], rows[ANY], strict=True))
    return f"Residuals of the fit to DiT, ln(published/predicted FID): {told}."


TABLES = {
    "ranks": ranks,
    "diffusion": lambda: spearman_table(DIFFUSION),
    "residuals": residuals,
}
EVIDENCE = {**quality_equal_size.TABLES, "bands": quality_bands.coverages}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="measured table (default: the newest of benchmarks/results)")
    parser.add_argument("--train", action="store_true", help="train the decoders first")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--no-training-free", action="store_true", help="leave out what needs torch")
    parser.add_argument("--only", choices=[*TABLES, *EVIDENCE], help="print one table, write nothing")
    parser.add_argument("--evidence", type=Path, help="folder of published tables")
    args = parser.parse_args(arguments)
    if args.only in EVIDENCE:
        print(EVIDENCE[args.only](args.evidence))
        return
    if args.only:
        print(TABLES[args.only]())
        return
    table_file = args.table or RESULTS / f"quality_decoders_{'gpu' if args.device == 'cuda' else 'cpu'}.csv"
    if args.train:
        command = [sys.executable, str(HERE / "quality_train.py"), "--device", args.device, "--output", str(table_file)]
        subprocess.run(command, check=True)
    elif args.table is None:
        files = [f for f in (RESULTS / "quality_decoders_gpu.csv", RESULTS / "quality_decoders_cpu.csv") if f.exists()]
        if not files:
            sys.exit("no measured table in benchmarks/results; run with --train")
        table_file = files[0]
    raw = pd.read_csv(table_file)
    table = measured_table(table_file)
    first = raw.iloc[0]
    print(f"{len(table)} decoders, {int(first['tokens']):,} bytes each, {raw['seed'].nunique()} seeds;", end=" ")
    print(f"{first['device']}, torch {first['torch']}, {first['date']}, {first['corpus']}\n")
    columns = proxies(table, float(raw["tokens"].iloc[0]))
    if not args.no_training_free:
        columns |= training_free(table)
    checks = correlations(table, columns)
    print(markdown(checks), "\n")
    tables = published()
    wide = tables.pivot(index="table", columns="proxy", values="spearman")
    print(wide.round(3).to_markdown() if _has_tabulate() else wide.round(3).to_string())
    print("\nResiduals, ln(published / predicted) of DiT's FID:\n")
    print(dit_residuals().round(3).to_string(index=False, na_rep=""))
    RESULTS.mkdir(exist_ok=True)
    checks.round(4).to_csv(RESULTS / "quality_checks.csv", index=False)
    tables.round(4).to_csv(RESULTS / "quality_published.csv", index=False)


def _has_tabulate() -> bool:
    from importlib.util import find_spec

    return find_spec("tabulate") is not None


if __name__ == "__main__":
    main()
