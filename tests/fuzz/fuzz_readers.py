"""Every format that a user can bring: how it is read, and one or more valid examples of it.

A reader is command lines (``{file}`` is the file, ``{folder}`` the folder that it lies in), or a function where the
command line would read much beside. ``tests/fuzz/test_readers.py`` holds that every function of archsearch that opens
a file is reached by one of these, or opens only what archsearch ships or wrote itself.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from archsearch.cli.output import finite
from archsearch.data import data_path
from archsearch.errors import ArchSearchError

GPU = "l4"
PROFILES = data_path("hardware_profiles")


@dataclass(frozen=True)
class Reader:
    """``place`` is where a file of the format lies in its folder; ``make`` gives its examples;
    ``beside`` are further files that the folder must hold; ``share`` is how often it is tried against the others."""

    place: str
    make: Callable[[], list[str]]
    lines: tuple[str, ...] = ()
    function: Callable[[Path], object] | None = None
    beside: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    share: int = 4

    @cached_property
    def examples(self) -> list[str]:
        """Valid files of the format."""
        return self.make()

    def write(self, folder: Path, content: bytes) -> Path:
        """The file in a folder of its own."""
        for place, text in self.beside.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text())
        file = folder / self.place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def calls(self, file: Path) -> list[list[str]]:
        """The command lines that read a file, as words."""
        folder = file.parents[len(Path(self.place).parts) - 1]
        return [[word.format(file=file, folder=folder) for word in line.split()] for line in self.lines]

    def answered(self, file: Path) -> tuple[int, Any]:
        """Exit status and plain answer of ``function``; what refuses the file is printed as the command line does."""
        from archsearch.cli.main import _fail

        assert self.function is not None
        try:
            return 0, finite(self.function(file))
        except ArchSearchError as error:
            return _fail(str(error)), None


def _text(document: object) -> list[str]:
    return [yaml.safe_dump(document, sort_keys=False)]


SPACE: dict[str, Any] = {
    "name": "tiny",
    "description": "Small decoders.",
    "family": "decoder",
    "fixed": {"vocab_size": 1024, "max_position_embeddings": 256, "tie_word_embeddings": True},
    "dimensions": {
        "hidden_size": {"range": [128, 384], "step": 128},
        "intermediate_size": {"choices": [512, 1024]},
        "num_layers": {"choices": [2, 4]},
    },
    "derived": {"num_attention_heads": "hidden_size // 64", "num_key_value_heads": "num_attention_heads"},
    "constraints": ["intermediate_size >= 2 * hidden_size"],
    "budget": {"parameters": [1e5, 1e8], "memory_gib": 8},
    "workload": {"phase": "forward", "batch_size": 2, "seq_len": 64, "dtype": "bf16"},
    "execution": {"compiled": True},
    "quality": {"proxy": "chinchilla-besiroglu", "tokens": 1e9},
    "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    "hardware": [GPU],
}
TRAINED = SPACE | {
    "dimensions": {"hidden_size": {"choices": [128, 256]}, "num_layers": {"choices": [2, 4]}},
    "derived": {**SPACE["derived"], "intermediate_size": "4 * hidden_size"},
    "prices": {GPU: 0.5},
    "objectives": [{"metric": "quality"}, {"metric": "training_usd"}],
    "workload": {"phase": "train", "batch_size": 2, "seq_len": 64},
    "training": {"hardware": GPU, "gpus": 2, "tokens": 1e9, "batch_size": 64, "seq_len": 64, "tensor_parallel": [1]},
}
IMAGES = {
    "name": "images",
    "description": "Small diffusion transformers.",
    "family": "dit",
    "fixed": {"patch_size": 2, "in_channels": 4},
    "dimensions": {"hidden_size": {"choices": [256, 384]}, "num_layers": {"choices": [2, 4]}},
    "derived": {"num_attention_heads": "hidden_size // 64", "intermediate_size": "4 * hidden_size"},
    "workload": {"batch_size": 4, "height": 256, "width": 256},
    "objectives": [{"metric": "quality"}, {"metric": "throughput"}],
    "hardware": [GPU],
    "sampling": {"alike": True},
    "baseline": "dit-s-2",
}
PIPELINE = {
    "name": "own",
    "description": "A small one.",
    "modality": "image",
    "text_encoders": [{"name": "clip", "model": "clip-l-text", "seq_len": 77}],
    "transformer": {"family": "dit", "config": {"num_layers": 2, "hidden_size": 384, "num_attention_heads": 6}},
    "decoder": {"model": "sd-vae", "tiling": {"size": 512, "stride": 384}},
    "guidance": {"default": "cfg", "modes": ["cfg", "none"]},
    "defaults": {"height": 256, "width": 256, "steps": 4, "dtype": "fp16"},
    "references": ["https://example.org/own"],
}
MEASURED = """gpu,op,dtype,batch,m,n,k,latency_us
h100-sxm,linear,bf16,1,512,1024,768,20.5
h100-sxm,linear,bf16,1,4096,1024,768,40.5
h100-sxm,bmm,fp16,16,128,128,64,11
"""
ATTENTIONS = """gpu,op,dtype,batch,heads_q,heads_kv,seq_q,seq_kv,head_dim,causal,kernel,latency_us
h100-sxm,attention,bf16,4,16,16,1024,1024,64,true,,100
a100-sxm-80gb,decode_attention,fp16,4,32,8,1,2048,128,false,,50
"""
MEMORY = """gpu,op,dtype,rows,cols,latency_us
l4,softmax,fp32,4096,1024,90
t4,layernorm,fp16,4096,1024,80
h100-sxm,gelu,bf16,4096,1024,9
"""
COLLECTIVES = """gpu,op,dtype,gpus,message_bytes,latency_us
h100-sxm,all_reduce,bf16,8,1048576,40
h100-sxm,all_gather,bf16,4,65536,20
"""
WHOLE = """gpu,model,batch,seq,dtype,latency_ms
t4,bert-base,2,128,fp16,4.5
l4,gpt2,1,64,fp16,3.5
"""
OWN_ROWS = "gpu,op,dtype,purpose,split,rows,cols,buffers,latency_us,warm_us,key,device,torch\n" + "".join(
    f"l4,copy,bf16,memory,{'test' if c % 768 == 0 else 'fit'},{r},{c},64,{t:.1f},{0.9 * t:.1f},{r}x{c},made up,0\n"
    for r in (4096, 16384)
    for c in (256, 512, 768, 1024, 1536, 2048, 3072, 4096)
    for t in (3 + 4e6 * r * c / 2.5e11,)
)
SHAPES = """num_layers,hidden_size,num_attention_heads,intermediate_size,vocab_size,tokens,loss
2,128,2,512,512,1000000,4.5
4,256,4,1024,512,1000000,4.1
6,256,4,1024,512,1000000,4.0
"""
FAMILIES = """family,num_layers,hidden_size,num_attention_heads,intermediate_size,patch_size,in_channels,note
dit,2,128,2,512,2,4,=1+1
dit,4,256,4,1024,2,4,plain
"""
MODEL = {
    "family": "decoder",
    "num_layers": 2,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 256,
    "vocab_size": 512,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}
PRICES = {
    "l4": {"usd_per_hour": 0.4, "provider": "Mine", "date": "2026-01-02", "url": "https://example.org/p"},
    "h100-sxm": {"usd_per_hour": 2.5, "provider": "Mine", "date": "2026-01-02", "note": "of eight"},
}
PRESETS = {"own-1": {"source": "https://example.org/own", **{k: v for k, v in MODEL.items() if k != "family"}}}
SAMPLING = {
    "name": "sampled",
    "description": "Small pipelines.",
    "family": "dit",
    "pipeline": "dit-xl-2",
    "fixed": {"patch_size": 2, "in_channels": 4, "guidance_passes": 1, "num_layers": 4},
    "dimensions": {"hidden_size": {"choices": [256, 384]}, "num_inference_steps": {"choices": [10, 50]}},
    "derived": {"num_attention_heads": "hidden_size // 64", "intermediate_size": "4 * hidden_size"},
    "workload": {"batch_size": 1, "height": 256, "width": 256},
    "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    "hardware": [GPU],
    "sampling": {
        "checkpoint": "mine",
        "checkpoints": {"mine": {"kind": "base", "family": "dit", "guidance": ["none", "cfg"], "steps": [1, 250]}},
        "sources": {"own": {"title": "Own measurements", "url": "https://example.org/s"}},
        "rows": [["mine", "fid", "minimize", s, "none", v, 2.5, "own"] for s, v in ((10, 4.0), (50, 3.0), (250, 2.5))],
    },
}
ARRIVALS = "arrival_s\n" + "".join(f"{3 * i}\n" for i in range(12))


def _profiles() -> list[str]:
    """The L4 and an AMD board under another name, and a GPU of an architecture of its own."""
    found = []
    for name in (GPU, "mi300x", "cpu"):
        values = yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
        found += _text({**values, "id": "own-gpu", "name": "Own GPU", "aliases": ["mine"]})
    values = yaml.safe_load(found[0])
    source = {"title": "Own figures", "url": "https://example.org/a", "fields": ["tensor_tiles"]}
    own = {"id": "own", "name": "Own", "vendor": "nvidia", "like": values["architecture"], "sources": [source]}
    own["tensor_tiles"] = [[64, 64, 2], [128, 128, 1]]
    return [*found, *_text({**values, "architecture": own})]


def _calibrations() -> list[str]:
    """One kernel family of each kind out of the shipped default."""
    values = yaml.safe_load((PROFILES / "calibration/default.yaml").read_text(encoding="utf-8"))
    names = ("gemm/16bit", "memory/pointwise", "attention/fa2-causal", "collective/ring")
    return _text({**values, "kernels": {name: fit for name, fit in values["kernels"].items() if name in names}})


def _corrections() -> list[str]:
    """Two networks of two hidden units."""
    from archsearch.cost.correction import FEATURES, Correction

    rng, f = np.random.default_rng(0), len(FEATURES)
    rows = {"low": np.full(f, -9.0), "high": np.full(f, 30.0), "mean": np.zeros(f), "scale": np.ones(f)}
    shapes = {"w1": (2, f, 2), "b1": (2, 2), "w2": (2, 2, 2), "b2": (2, 2), "w3": (2, 2), "b3": (2,)}
    weights = {name: 0.1 * rng.normal(size=shape) for name, shape in shapes.items()}
    found = Correction(**rows, **weights, limit=0.5).to_json()
    return [json.dumps({"gpu": GPU, "date": "2026-01-01", "kernels": {"gemm/16bit": found}})]


def _hf_configs() -> list[str]:
    """The smallest preset of every class that archsearch reads, as that class writes it."""
    from archsearch.models.huggingface import to_hf
    from archsearch.models.registry.families import load_preset, preset_names

    found: dict[str, tuple[float, str]] = {}
    for name in preset_names():
        config = load_preset(name)
        with contextlib.suppress(ArchSearchError):
            document = to_hf(config)
            kind = str(document.get("_class_name") or document.get("model_type"))
            size = float(config.parameters())
            if kind not in found or size < found[kind][0]:
                found[kind] = size, json.dumps(document, indent=1)
    return [text for _, text in found.values()]


@cache
def _answers() -> list[str]:
    """Answers of both verbs that `diff` compares."""
    from archsearch.cli.main import run

    texts = []
    for line in (f"estimate bert-base -g {GPU} -s 64", "pipeline estimate dit-xl-2 -g h100-sxm --steps 4"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            assert run([*line.split(), "--json"]) == 0
        texts.append(out.getvalue())
    return texts


def _calibrated(file: Path) -> object:
    """A GPU's times under a calibration file alone."""
    from archsearch.cost.calibration import Calibration, read_calibration

    calibration = Calibration([read_calibration(file)])
    return _timed(calibration)


def _corrected(file: Path) -> object:
    """A GPU's times under the shipped calibration with a user's correction."""
    from archsearch.cost.calibration import Calibration, read_calibration

    shipped = read_calibration(PROFILES / "calibration/default.yaml")
    fits = {n: f.model_copy(update={"correction": file.stem}) for n, f in shipped.kernels.items() if "gemm" in n}
    own = {"level": "gpu", "serves": (GPU,), "kernels": {**shipped.kernels, **fits}}
    return _timed(Calibration([shipped.model_copy(update=own)], [file.parent]))


def _timed(calibration: Any) -> object:
    """Seconds of one small product and one copy on the L4."""
    from archsearch.cost.execution import BURST
    from archsearch.cost.model import CostModel
    from archsearch.cost.routes import gemm_route, memory_route
    from archsearch.dtypes import DType
    from archsearch.hardware.database import load_gpu

    gpu = load_gpu(GPU)
    sizes = {name: np.asarray(values, dtype=float) for name, values in {"m": [512, 4096], "n": 1024, "k": 768}.items()}
    routes = [gemm_route(gpu, DType.BF16, sizes, weights=True)]
    rows = {"rows": np.asarray([4096.0]), "cols": np.asarray([1024.0])}
    routes.append(memory_route(gpu, DType.BF16, "gelu", rows))
    model = CostModel(gpu, calibration)
    costs = [model.route_cost(route, BURST) for route in routes]
    return {name: [getattr(cost, name).tolist() for cost in costs] for name in ("latency_s", "low_s", "high_s")}


def _presets(file: Path) -> object:
    """Every preset of a user's file, built."""
    from archsearch.models.language.decoder.config import DecoderConfig
    from archsearch.models.registry.presets import check_fields, read_presets

    found = {}
    for name, preset in read_presets(file).items():
        check_fields(file, name, DecoderConfig.__dataclass_fields__)
        found[name] = {"parameters": float(DecoderConfig.from_dict(preset.values).parameters())}
    return found


def _trace(file: Path) -> object:
    from archsearch.serving.traffic import read_trace

    trace = read_trace(file)
    return {"rate_per_s": trace.rate, "scv": trace.scv, "seconds": float(trace.arrivals_s[-1])}


READERS: dict[str, Reader] = {
    "gpu profile": Reader(
        "own-gpu.yaml",
        _profiles,
        (
            "hardware show own-gpu --profiles {folder} --json",
            "estimate bert-base -g own-gpu --profiles {folder} --json",
        ),
    ),
    "calibration": Reader("case.yaml", _calibrations, function=_calibrated),
    "correction": Reader("case.json", _corrections, function=_corrected, share=2),
    "prices": Reader("prices/on_demand.yaml", lambda: _text(PRICES), ("hardware list --profiles {folder} --json",)),
    "measurements": Reader(
        "case.csv",
        lambda: [MEASURED, ATTENTIONS, MEMORY, COLLECTIVES, WHOLE, OWN_ROWS],
        ("validate {file} --json",),
        share=6,
    ),
    "rows to fit": Reader(
        "case.csv",
        lambda: [OWN_ROWS],
        ("bench calibrate {file} -o {folder}/out --json", "bench calibrate --from {folder} -o {folder}/out --json"),
        share=1,
    ),
    "quality table": Reader(
        "case.csv",
        lambda: [SHAPES, FAMILIES],
        ("quality {file} --family decoder --json", "quality {file} --json"),
        share=4,
    ),
    "model": Reader("case.yaml", lambda: _text(MODEL), (f"estimate {{file}} -g {GPU} --json",)),
    "config.json": Reader("config.json", _hf_configs, (f"estimate {{file}} -g {GPU} --json",), share=6),
    "space": Reader(
        "case.yaml",
        lambda: [text for space in (SPACE, TRAINED, IMAGES) for text in _text(space)],
        ("enumerate {file} --json",),
        share=4,
    ),
    "sampling table": Reader("case.yaml", lambda: _text(SAMPLING), ("enumerate {file} --json",), share=1),
    "pipeline": Reader("case.yaml", lambda: _text(PIPELINE), ("pipeline estimate {file} -g h100-sxm --json",), share=2),
    "execution": Reader(
        "case.yaml",
        lambda: _text({"attention": "sdpa", "compiled": True, "launch_us": 4, "torch": "2.8"}),
        (f"estimate bert-base -g {GPU} --execution {{file}} --json",),
    ),
    "answer": Reader(
        "a.json",
        lambda: _answers()[:1],
        ("diff {file} {folder}/b.json --json",),
        beside={"b.json": lambda: _answers()[0]},
    ),
    "pipeline's answer": Reader(
        "a.json",
        lambda: _answers()[1:],
        ("diff {file} {folder}/b.json --json",),
        beside={"b.json": lambda: _answers()[1]},
        share=2,
    ),
    "arrivals": Reader("case.csv", lambda: [ARRIVALS], function=_trace, share=2),
    "presets": Reader("case.yaml", lambda: _text(PRESETS), function=_presets, share=2),
}
"""Formats by name."""


def warm_up() -> None:
    """Read every example once: what is imported and remembered then is no longer any case's to pay for."""
    import tempfile

    from archsearch.cli.main import run

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        for number, reader in enumerate(READERS.values()):
            file = reader.write(Path(folder) / str(number), reader.examples[0].encode())
            with contextlib.redirect_stdout(io.StringIO()):
                if reader.function is not None:
                    reader.answered(file)
                for line in reader.calls(file):
                    run(line)
