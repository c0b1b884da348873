"""Memory of real modules on a GPU against ``MemoryUse``.

python benchmarks/memory_gpu.py --write-cases          with archsearch: the cases, as benchmarks/memory_cases.json
python benchmarks/memory_gpu.py --output FILE.csv      on a GPU, with torch and transformers (and diffusers): measure
python benchmarks/memory_gpu.py --compare FILE.csv     with archsearch: measured against predicted, as Markdown

Measuring imports nothing of archsearch. A case's module is built from its config with random weights. Inference is
``torch.cuda.max_memory_allocated`` of a second call over what was allocated before it; training is the peak of forward,
loss and backward, gradients and the optimizer's state being there from a first step and kept. 32-bit cases train with
AdamW (fused, which needs no temporaries); 16-bit ones without an optimizer, because torch's keeps no 32-bit master
weights. ``--dry`` runs all cases on the meta device and measures nothing.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "memory_cases.json"
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
COLUMNS = (
    *("name", "config", "workload", "phase_measured", "weights_bytes", "state_bytes", "activations_bytes"),
    *("step_bytes", "seconds", "error", "device", "driver", "torch", "transformers", "diffusers", "date"),
)
TEXT = {"batch_size": 8, "seq_len": 1024}
TRAIN = {"phase": "train", "batch_size": 8, "seq_len": 1024}
SQUARE = {"height": 1024, "width": 1024}
VIDEO = {"height": 480, "width": 832}
_PLAN: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("gpt2", {}, {**TRAIN, "dtype": "fp32"}),
    ("gpt2", {}, {**TRAIN, "dtype": "fp32", "checkpointing": True}),
    ("gpt2", {}, TRAIN),
    ("gpt2", {}, {**TRAIN, "checkpointing": True}),
    ("gpt2", {}, TEXT),
    ("llama-3.2-1b", {"num_layers": 8}, TEXT),
    ("llama-3.2-1b", {"num_layers": 8, "vocab_size": 8192}, TEXT),
    ("llama-3.2-1b", {"num_layers": 8}, {**TEXT, "phase": "prefill"}),
    ("llama-3.2-1b", {"num_layers": 4, "vocab_size": 8192}, TRAIN),
    ("llama-3.2-1b", {"num_layers": 4, "vocab_size": 8192}, {**TRAIN, "checkpointing": True}),
    ("qwen3-0.6b", {"num_layers": 8, "vocab_size": 8192}, TEXT),
    ("gemma-2-2b", {"num_layers": 4}, TEXT),
    ("gemma-2-2b", {"num_layers": 4, "vocab_size": 8192}, TEXT),
    ("pythia-410m", {"num_layers": 8, "vocab_size": 8192}, TEXT),
    ("bert-base", {}, {**TEXT, "seq_len": 512}),
    ("bert-base", {}, {**TRAIN, "seq_len": 512, "dtype": "fp32"}),
    ("modernbert-base", {}, TEXT),
    ("t5-xxl-encoder", {"num_layers": 4}, {**TEXT, "seq_len": 512}),
    ("clip-bigg-text", {"num_layers": 8}, {"batch_size": 64, "seq_len": 77}),
    ("dit-xl-2", {"num_layers": 4, "layout": "diffusers"}, {"batch_size": 32, "height": 512, "width": 512}),
    ("pixart-sigma", {"num_layers": 4}, {**SQUARE, "batch_size": 4}),
    ("sana-0.6b", {"num_layers": 4}, {**SQUARE, "batch_size": 8}),
    ("sd3-medium", {"num_layers": 4}, {**SQUARE, "batch_size": 2}),
    ("flux1-dev", {"num_layers": 2, "num_single_layers": 4}, {**SQUARE, "batch_size": 2}),
    ("wan2.1-1.3b", {"num_layers": 4}, {**VIDEO, "frames": 33}),
    ("ltx-video-2b", {"num_layers": 4}, {"height": 512, "width": 768, "frames": 121}),
    ("cogvideox-2b", {"num_layers": 4}, {"height": 480, "width": 720, "frames": 49}),
    ("hunyuan-video", {"num_layers": 2, "num_single_layers": 2}, {**VIDEO, "frames": 33}),
    *((n, {}, {**SQUARE, "phase": p}) for n in ("sd-vae", "flux-vae", "dc-ae-f32c32") for p in ("decode", "encode")),
    *((n, {}, {**VIDEO, "frames": 33, "phase": "decode"}) for n in ("wan-vae", "ltx-video-vae")),
)
"""Preset, what is changed of it (fewer layers: a peak is one layer's), and the workload."""


def write_cases() -> None:
    """The plan as configs of transformers and diffusers with their inputs."""
    from dataclasses import replace

    from archsearch.models.huggingface import to_hf
    from archsearch.models.huggingface.inputs import example_inputs, method_of
    from archsearch.models.registry.families import load_preset

    cases = []
    for preset, changes, sizes in _PLAN:
        config = replace(load_preset(preset), **changes)
        document = to_hf(config)
        workload = {"dtype": "bf16", "phase": "forward", **sizes}
        inputs = example_inputs(document, config, _workload(workload))
        method = method_of(document, _workload(workload))
        cases.append(
            {
                "name": f"{preset}-{workload['phase']}",
                "config": document,
                "workload": workload,
                "inputs": inputs,
                "method": method,
            }
        )
    CASES.write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")


def _workload(sizes: dict[str, Any]) -> Any:
    from archsearch.dtypes import DType
    from archsearch.workload import Phase, Workload

    return Workload(**{**sizes, "dtype": DType(sizes["dtype"]), "phase": Phase(sizes["phase"])})


def build(case: dict[str, Any], device: str) -> Any:
    """The case's module with random weights."""
    import torch

    config = case["config"]
    dtype = getattr(torch, DTYPES[case["workload"]["dtype"]])
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            if "_class_name" in config:
                import diffusers

                model = getattr(diffusers, config["_class_name"]).from_config(config)
            else:
                import transformers

                off = {key: 0.0 for key in _DROPOUT if hasattr(transformers.AutoConfig.for_model(**config), key)}
                made = transformers.AutoConfig.for_model(**{**config, **off})
                made._attn_implementation = "eager" if device == "meta" else "sdpa"  # sdpa looks at masks' values
                model = getattr(transformers, config["architectures"][0])(made)
    finally:
        torch.set_default_dtype(torch.float32)
    if "_class_name" in config:  # diffusers loads these in 32 bits whatever is asked for
        for name, part in model.named_modules():
            if any(word in name.split(".") for word in model._keep_in_fp32_modules or ()):
                part.float()
    return model


_DROPOUT = (
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("attention_dropout", "hidden_dropout", "dropout_rate"),
)


def tensors(case: dict[str, Any], device: str) -> dict[str, Any]:
    """Arguments of one call; see ``archsearch/models/huggingface/inputs.py`` for kinds and dotted names."""
    import torch

    dtype = getattr(torch, DTYPES[case["workload"]["dtype"]])
    made: dict[str, Any] = {}
    for dotted, (kind, shape) in case["inputs"].items():
        name, _, item = dotted.partition(".")
        value: Any = None
        if kind == "number":
            value = shape
        elif kind in ("ids", "steps", "ones"):
            value = torch.ones(shape, dtype=torch.long, device=device)
        elif kind != "none":
            value = torch.zeros(shape, dtype=dtype, device=device)
        if item.isdigit():
            made[name] = (*made.get(name, ()), value)
        elif item:
            made.setdefault(name, {})[item] = value
        else:
            made[name] = value
    causal = "LM" in case["config"].get("architectures", [""])[0]
    if not (device == "meta" and causal):  # nothing is padded, which causal models on the meta device cannot see
        made.pop("attention_mask" if "input_ids" in made else "", None)
    return made


def run_inference(case: dict[str, Any], model: Any, inputs: dict[str, Any]) -> Any:
    """One call of the workload's phase."""
    import torch

    with torch.no_grad():
        if case["method"]:
            return getattr(model, case["method"])(**inputs)
        if case["workload"]["phase"] == "prefill":
            return model(**inputs, use_cache=True, logits_to_keep=1)
        cache = {"use_cache": False} if "LM" in type(model).__name__ else {}
        return model(**inputs, **cache)


def run_training(model: Any, inputs: dict[str, Any]) -> None:
    """Forward, loss, backward."""
    if "LM" in type(model).__name__:
        model(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
    else:
        model(**inputs).last_hidden_state.float().mean().backward()


def measure(case: dict[str, Any], device: str) -> dict[str, Any]:
    """Bytes of weights, training state and activations, and the peak of the optimizer's step."""
    import torch

    on_gpu = device == "cuda"
    allocated = torch.cuda.memory_allocated if on_gpu else (lambda: 0)
    peak = torch.cuda.max_memory_allocated if on_gpu else (lambda: 0)
    reset = torch.cuda.reset_peak_memory_stats if on_gpu else (lambda: None)
    gc.collect()
    start = allocated()
    model = build(case, device)
    weights = allocated() - start
    inputs = tensors(case, device)
    w = case["workload"]
    if w["phase"] != "train":
        model.eval()
        run_inference(case, model, inputs)
        before = allocated()
        reset()
        run_inference(case, model, inputs)
        return {"phase_measured": w["phase"], "weights_bytes": weights, "activations_bytes": peak() - before}
    model.train()
    if w.get("checkpointing"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    run_training(model, inputs)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True) if on_gpu and w["dtype"] == "fp32" else None
    if optimizer:
        optimizer.step()
    model.zero_grad(set_to_none=False)
    before = allocated()
    held = sum(t.numel() * t.element_size() for t in inputs.values() if hasattr(t, "numel"))
    reset()
    run_training(model, inputs)
    found = {"phase_measured": "train", "weights_bytes": weights, "state_bytes": before - start - weights - held}
    found["activations_bytes"] = peak() - before
    reset()
    if optimizer:
        optimizer.step()
        found["step_bytes"] = peak() - start
    return found


def measure_all(path: Path | None, device: str) -> None:
    """Every case to a CSV file; one that fails says why in its row."""
    import torch

    about = {"torch": torch.__version__, "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "driver": ""}
    for library in ("transformers", "diffusers"):
        try:
            about[library] = __import__(library).__version__
        except ImportError:
            about[library] = ""
    about["device"] = torch.cuda.get_device_name() if device == "cuda" else device
    if device == "cuda":
        about["driver"] = _driver()
    with path.open("w", newline="", encoding="utf-8") if path else sys.stdout as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for case in json.loads(CASES.read_text(encoding="utf-8")):
            row = {"name": case["name"], **{key: json.dumps(case[key]) for key in ("config", "workload")}, **about}
            if "_class_name" in case["config"] and not about["diffusers"]:
                row["error"] = "diffusers is not installed"
                writer.writerow(row)
                continue
            start = time.perf_counter()
            try:
                row |= measure(case, device)
            except Exception as error:  # a case that fails must not lose the others
                row["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            row["seconds"] = round(time.perf_counter() - start, 2)
            writer.writerow(row)
            file.flush()
            if device == "cuda":
                gc.collect()
                torch.cuda.empty_cache()


def _driver() -> str:
    import subprocess

    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except OSError:
        return ""


def compare(path: Path) -> str:
    """Measured against predicted: a Markdown table."""
    lines = [
        "| module | workload | weights, MB | predicted | activations, MB | predicted | error % |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in csv.DictReader(path.open(encoding="utf-8")):
        found = compared(row)
        parts = ("weights", "weights_predicted", "live", "live_predicted")
        numbers = [f"{found[key] / 1e6:.1f}" for key in parts if found]
        cells = [*numbers, f"{found['error_percent']:+.1f}"] if found else [row["error"], "", "", "", ""]
        lines.append(f"| {_title(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sentence(path: Path) -> str:
    """The errors of inference and training in a few words; what is off by more than a tenth is named, not counted."""
    errors: dict[str, list[float]] = {"inference": [], "training": []}
    off = []
    for row in csv.DictReader(path.open(encoding="utf-8")):
        if found := compared(row):
            error = found["error_percent"]
            if abs(error) > 10:
                off.append(f"{row['name']} ({error:+.0f} %)")
            else:
                training = json.loads(row["workload"]).get("phase") == "train"
                errors["training" if training else "inference"].append(abs(error))
    told = [f"{name} within {max(found):.1f} % ({len(found)} cases)" for name, found in errors.items()]
    return f"{', '.join(told)}; not counted: {', '.join(off) or 'none'}.".capitalize()


def compared(row: dict[str, str]) -> dict[str, float]:
    """A measured row and its prediction in bytes; nothing where the case failed. Keys and values that a prefill leaves
    behind count as live, as the allocator sees them."""
    from archsearch.models.huggingface import from_hf_dict

    if row["error"]:
        return {}
    use = from_hf_dict(json.loads(row["config"])).memory(_workload(json.loads(row["workload"])))
    measured, live = float(row["activations_bytes"]), float(use.activations) + float(use.kv_cache)
    return {
        "weights": float(row["weights_bytes"]),
        "weights_predicted": float(use.weights),
        "live": measured,
        "live_predicted": live,
        "error_percent": 100 * (live / measured - 1) if measured else float("nan"),
    }


def _title(row: dict[str, str]) -> str:
    document, sizes = json.loads(row["config"]), json.loads(row["workload"])
    layers = [document[k] for k in ("num_layers", "num_hidden_layers", "n_layer") if document.get(k)]
    name = row["name"] + (f" ({layers[0]} layers)" if layers else "")
    return f"{name} | {', '.join(f'{k} {v}' for k, v in sizes.items() if k != 'phase')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write cases, measure or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-cases", action="store_true")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--compare", type=Path, default=None)
    parser.add_argument("--sentence", action="store_true", help="with --compare: the errors in a few words")
    parser.add_argument("--dry", action="store_true", help="run the cases on the meta device")
    given = parser.parse_args(arguments)
    if given.write_cases:
        write_cases()
    elif given.compare:
        print(sentence(given.compare) if given.sentence else compare(given.compare))
    else:
        measure_all(given.output, "meta" if given.dry else "cuda")


if __name__ == "__main__":
    main()
