"""``archsearch quality``: the quality expected of a model, or of a table of configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from archsearch.cli.completion import complete_model
from archsearch.cli.options import Json
from archsearch.cli.output import note, print_json, print_table, say

if TYPE_CHECKING:
    import pandas as pd

    from archsearch.models.base import ModelConfig
    from archsearch.quality import Quality, QualityProxy
    from archsearch.quality.table import PredictedTable
    from archsearch.workload import Workload


def quality(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL|FILE.csv", help="A model, or a table of configs.", autocompletion=complete_model),
    ] = None,
    proxy: Annotated[str | None, typer.Option("--proxy", help="Which law; see --list.")] = None,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens.")] = None,
    inference_tokens: Annotated[
        float | None, typer.Option("--inference-tokens", help="Tokens served over the model's life: its best size.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps of image and video models.")] = None,
    guidance: Annotated[str | None, typer.Option("--guidance", help="none, cfg or distilled.")] = None,
    distilled: Annotated[bool, typer.Option("--distilled", help="The model's step-distilled student.")] = False,
    family: Annotated[str | None, typer.Option("--family", help="Family of a table without that column.")] = None,
    training_free: Annotated[
        bool, typer.Option("--training-free", help="Add scores of small real modules to a table (needs torch).")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Train a table's rows, scaled down, and rank them (needs torch).")
    ] = False,
    train_steps: Annotated[int | None, typer.Option("--train-steps", help="Steps of --train's survivors.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Text file or directory for --train.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu (default) or cuda, for --training-free and --train.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the table with predictions.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Explain each proxy: source, validity, families.")] = False,
    json: Json = False,
) -> None:
    """Predict the quality of a model, or of every row of a CSV whose columns are config fields."""
    from archsearch.errors import InvalidInputError

    predicted: dict[str, object] = {
        "proxy": proxy,
        "tokens": tokens,
        "inference-tokens": inference_tokens,
        "steps": steps,
    }
    predicted |= {"guidance": guidance, "distilled": distilled or None, "family": family, "output": output}
    predicted |= {"training-free": training_free or None, "train": train or None}
    trained: dict[str, object] = {"train-steps": train_steps, "data": data}
    if list_all:
        _refuse_idle(predicted | trained | {"device": device}, "--list prints every proxy and reads nothing else")
        if model is not None:
            raise InvalidInputError(f"--list prints every proxy: leave out {model}, or --list")
        _list(json)
        return
    if not train:
        _refuse_idle(trained, "there is no training to change: add --train")
    if not (train or training_free):
        _refuse_idle({"device": device}, "nothing runs on a device: add --training-free or --train")
    if model is None:
        raise InvalidInputError("name a MODEL or a FILE.csv, or use --list")
    for option, value in (("--tokens", tokens), ("--inference-tokens", inference_tokens), ("--steps", steps)):
        if value is not None and not value > 0:
            raise InvalidInputError(f"{option} {value:g} must be positive")
    sampler = {"num_inference_steps": steps, "guidance": guidance, "distilled": distilled or None}
    if Path(model).suffix in (".csv", ".parquet"):
        if inference_tokens is not None:
            raise InvalidInputError("--inference-tokens is for one MODEL, not for a table")
        runs = _TorchRuns(training_free, train, train_steps, data, device or "cpu")
        _write(_scored(Path(model), proxy, tokens, sampler, family, runs), output, json)
        return
    _refuse_of_table(model, output, family, compared=training_free or train)
    _model(model, proxy, tokens, inference_tokens, sampler, json)


class _TorchRuns(NamedTuple):
    """What torch is to add to a table, and where it runs."""

    training_free: bool
    train: bool
    steps: int | None
    data: Path | None
    device: str


def _refuse_of_table(model: str, output: Path | None, family: str | None, *, compared: bool) -> None:
    """Refuse what only a table has.

    Raises:
        InvalidInputError: a comparison of architectures, a file or a family was asked for.
    """
    from archsearch.errors import InvalidInputError

    if compared:
        raise InvalidInputError("--training-free and --train compare architectures: give a FILE.csv")
    if output is not None:
        raise InvalidInputError("--output is for a table; use --json for one model")
    if family is not None:
        raise InvalidInputError(f"--family is for a table without that column; {model} has its own")


def _refuse_idle(options: Mapping[str, object], why: str) -> None:
    """Refuse options that nothing would read.

    Raises:
        InvalidInputError: one was given.
    """
    from archsearch.errors import InvalidInputError

    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise InvalidInputError(f"{', '.join(given)} without effect: {why}")


def _list(json: bool) -> None:
    from archsearch.quality import get_proxy, list_proxies
    from archsearch.quality.modalities import default_families

    rows: list[dict[str, Any]] = []
    for name in list_proxies():
        p = get_proxy(name)
        valid = {k: list(v) for k, v in p.valid.items()}
        default = default_families(name)
        about: dict[str, Any] = {"name": name, "metric": p.metric, "unit": p.unit, "direction": p.direction}
        about |= {"description": p.description, "families": list(p.families), "default_for": default}
        rows.append({**about, "assumed": p.assumed, "valid": valid, "source": p.source, "url": p.url})
    if json:
        print_json(rows)
        return
    for row in rows:
        ranges = "; ".join(f"{k} {low:.3g} to {high:.3g}" for k, (low, high) in row["valid"].items())
        marked = ", assumed: ranks rather than predicts" if row["assumed"] else ""
        default_for = f"; default for {', '.join(row['default_for'])}" if row["default_for"] else ""
        say(f"{row['name']}: {row['metric']} ({row['unit']}) of {', '.join(row['families'])}{default_for}{marked}")
        say(f"  {row['description']}; valid for {ranges}")
        say(f"  {row['source']} {row['url']}")


def _model(
    model: str,
    proxy: str | None,
    tokens: float | None,
    inference_tokens: float | None,
    sampler: dict[str, Any],
    json: bool,
) -> None:
    from archsearch.models.registry.load import load_model
    from archsearch.quality import default_proxy, get_proxy, training_features
    from archsearch.quality.sampling import asked_sampling, sampled_quality
    from archsearch.workload import Workload

    config = load_model(model)
    law = get_proxy(proxy) if proxy else default_proxy(config.family)
    if "tokens" not in law.features:
        idle = {"tokens": tokens, "inference-tokens": inference_tokens}
        _refuse_idle(idle, f"{law.name} does not read training tokens; see --list")
    workload = Workload(**config.default_sizes)  # type: ignore[arg-type]
    features = training_features(config, law, workload, {"tokens": tokens})
    answer = law.predict(features)
    sampling = asked_sampling(config.family, sampler, model)
    sampled = None if sampling is None else sampling.ratio()
    if sampled is not None:
        answer = sampled_quality(answer, law.direction, sampled)
    document = _document(model, law, answer)
    document |= _training(law, features, inference_tokens)
    document |= _ceiling(config, workload)
    if sampling is not None and sampled is not None:
        document["sampling"] = {**sampling.document(), **sampled.document()}
    if json:
        print_json(document)
    else:
        _print_model(document, law)


def _document(model: str, law: QualityProxy, answer: Quality) -> dict[str, Any]:
    value, low, high = (None if isnan(float(v)) else float(v) for v in (answer.value, answer.low, answer.high))
    return {
        "model": model,
        f"predicted_{law.metric}": value,
        "low": low,
        "high": high,
        "in_range": bool(answer.in_range),
        "proxy": law.name,
        "unit": law.unit,
        "assumed": law.assumed,
        "source": law.source,
    }


def _print_model(document: dict[str, Any], law: QualityProxy) -> None:
    value, low, high = document[f"predicted_{law.metric}"], document["low"], document["high"]
    outside = "" if document["in_range"] or value is None else "; outside the law's range, band widened"
    shown = "unknown at this sampling" if value is None else f"{value:.4g} ({low:.4g} to {high:.4g})"
    say(f"{document['model']}: {law.metric} {shown}, {law.name}{outside}")
    if "sampling" in document:
        say(f"  {sampling_line(document['sampling'])}")
    for key, text in _TEXTS.items():
        if key in document:
            say(f"  {text.format(**document)}")
    say(f"  {law.source} {law.url}")


def sampling_line(d: Mapping[str, Any]) -> str:
    """What is known of a sampling, in a line."""
    sampling = f"{d['steps']} steps, guidance {d['guidance']}, of {d['of']} ({d['kind']})"
    if d["ratio"] is None:
        return f"{sampling}: unknown ({d['reason']})"
    of = f"{d['metric']} {d['value']:.4g}, {d['ratio']:.4g} of the reference sampling's ({d['known']})"
    return f"{sampling}: {of}; {d['sources'][0]}"


_TEXTS = {
    "tokens_per_parameter": "{tokens_per_parameter:.3g} training tokens per parameter ({overtraining:.3g} times the "
    "compute-optimal ratio)",
    "inference_optimum": "the same loss at least cost over training and {inference_optimum[inference_tokens]:.3g} "
    "served tokens: {inference_optimum[parameters]:.3g} parameters on {inference_optimum[tokens]:.3g} tokens, "
    "{inference_optimum[saved]:.1%} fewer FLOPs",
    "reconstruction_psnr_db": "the autoencoder reconstructs about {reconstruction_psnr_db:.1f} dB "
    "({reconstruction_psnr_low_db:.1f} to {reconstruction_psnr_high_db:.1f}): the ceiling",
}


def _training(law: QualityProxy, features: dict[str, Any], inference_tokens: float | None) -> dict[str, Any]:
    """Tokens per parameter against the compute-optimal ratio, and the size that serving makes best."""
    from archsearch.quality.budget import inference_optimum, overtraining

    if "tokens" not in features or not hasattr(law, "size"):
        return {}
    size = float(law.size(features))
    tokens = float(features["tokens"])
    training: dict[str, Any] = {"tokens": tokens, "tokens_per_parameter": tokens / size}
    training["overtraining"] = float(overtraining(size, tokens))
    if inference_tokens is not None:
        training["inference_optimum"] = inference_optimum(law, size, tokens, inference_tokens).document()
    return training


def _ceiling(config: ModelConfig, workload: Workload) -> dict[str, Any]:
    """What the autoencoder of an image or video model can reconstruct."""
    from archsearch.quality import get_proxy, training_features

    proxy = get_proxy("reconstruction-psnr")
    if config.family not in proxy.families:
        return {}
    answer = proxy.predict(training_features(config, proxy, workload, {}))
    names = ("reconstruction_psnr_db", "reconstruction_psnr_low_db", "reconstruction_psnr_high_db")
    return dict(zip(names, map(float, (answer.value, answer.low, answer.high)), strict=True))


def _scored(
    file: Path,
    proxy: str | None,
    tokens: float | None,
    sampler: Mapping[str, object],
    family: str | None,
    runs: _TorchRuns,
) -> PredictedTable:
    from archsearch.cli import quality_torch
    from archsearch.errors import InvalidInputError
    from archsearch.quality.table import predict_table
    from archsearch.tables import read_table

    if runs.training_free or runs.train:
        quality_torch.check_torch(runs.device)
    table = read_table(file)
    try:
        scored = predict_table(table, family=family, proxy=proxy, tokens=tokens, sampler=sampler)
    except InvalidInputError as error:
        raise error if error.fields else error.about(str(file)) from None
    if scored.unread:
        note(f"columns that are no config field are carried along unread: {', '.join(scored.unread)}")
    if scored.assumed:
        note(f"the table does not give: {'; '.join(scored.assumed)}")
    for sampling in scored.sampling.values():
        note(sampling_line(sampling))
    frame = scored.frame
    if runs.training_free:
        frame = quality_torch.add_training_free(frame, family, runs.device)
    if runs.train:
        frame = quality_torch.add_training(frame, family, runs.device, runs.steps, runs.data)
    return replace(scored, frame=frame)


def _write(scored: PredictedTable, output: Path | None, json: bool) -> None:
    from archsearch.tables import write_table

    if output is not None:
        write_table(scored.frame, output)
        note(f"wrote {output}")
    if json:
        rows = _plain_rows(scored.frame)
        print_json({"rows": rows, "assumed": list(scored.assumed), "sampling": dict(scored.sampling)})
    elif output is None:
        print_table("", list(scored.frame.columns), scored.frame.itertuples(index=False))


def _plain_rows(scored: pd.DataFrame) -> list[dict[str, object]]:
    """Rows with None where nothing is known: JSON has no NaN."""
    return [{str(k): None if v != v else v for k, v in row.items()} for row in scored.to_dict(orient="records")]
