"""Witnesses of options: for every option of every verb two calls that differ in it alone, and whose answers differ.

A verb has a base call. An option's witness is either text that is added to the base, compared with the base as it is,
or two texts, compared with each other. ``{name}`` stands for a file of ``tests/witness_files.py``, ``{out}`` for an
empty directory of each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ANSWER, TEXT, FILES, REFUSED, REASON = "answer", "text", "files", "refused", "reason"


@dataclass(frozen=True)
class Witness:
    """Two calls that differ in one option.

    ``by`` says what differs: the JSON document apart from what it repeats of the question (``answer``), what is printed
    without ``--json`` (``text``), what is written below ``{out}`` (``files``), that one call of both is refused
    (``refused``), or that both are and for which reason (``reason``). ``alone``: without the verb's ``then``.
    """

    a: str
    b: str
    by: str = ANSWER
    base: str | None = None
    alone: bool = False


@dataclass(frozen=True)
class Verb:
    """A verb's base call and its witnesses; ``then``: what a second call reads of what the first has stored."""

    base: str
    options: Mapping[str, str | tuple[str, str] | Witness]
    then: str | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)

    def witness(self, option: str) -> Witness:
        given = self.options[option]
        if isinstance(given, Witness):
            return given
        return Witness("", given) if isinstance(given, str) else Witness(*given)


def text(b: str, a: str = "") -> Witness:
    return Witness(a, b, TEXT)


def files(b: str, a: str = "") -> Witness:
    return Witness(a, b, FILES)


def refused(b: str, a: str = "", base: str | None = None) -> Witness:
    return Witness(a, b, REFUSED, base)


def reason(b: str, base: str) -> Witness:
    return Witness("", b, REASON, base)


def at(base: str, a: str, b: str) -> Witness:
    return Witness(a, b, ANSWER, base)


JSON = {"--json": text("--json")}
PROFILES = {"--profiles": ("-g h100-sxm", "-g h100-sxm --profiles {profiles}")}
REPORT = {"--report": files("--report {out}/page.html")}

REPLICAS = "--phase train --batch-size 2 --data-parallel 2"
EXECUTION: dict[str, str | tuple[str, str] | Witness] = {
    "--execution": "--execution diffusers-compiled",
    "--torch": ("--attention sdpa --torch 2.4", "--attention sdpa --torch 2.8"),
    "--attention": ("--attention sdpa", "--attention eager"),
    "--compiled": ("--compiled", "--eager"),
    "--cuda-graphs": ("--launch-us 40 --cuda-graphs", "--launch-us 40 --no-cuda-graphs"),
    "--fused-qkv": ("--fused-qkv", "--no-fused-qkv"),
    "--quantization": ("--dtype fp8 --quantization fused", "--dtype fp8 --quantization eager"),
    "--scaling": ("--dtype fp8 --scaling static", "--dtype fp8 --scaling dynamic"),
    "--granularity": ("--dtype fp8 --compiled --granularity row", "--dtype fp8 --compiled --granularity tensor"),
    "--launch-us": ("--launch-us 20", "--launch-us 40"),
    "--clock": ("--clock 1000", "--clock 1500"),
    "--power-limit-w": "--power-limit-w 150",
    "--correction": ("--correction", "--no-correction"),
    "--tensor-parallel": "--tensor-parallel 2",
    "--sequence-parallel": "--sequence-parallel 2",
    "--pipeline-parallel": "--pipeline-parallel 2",
    "--data-parallel": ("--batch-size 2", "--batch-size 2 --data-parallel 2"),
    "--zero": (f"{REPLICAS} --zero 1", f"{REPLICAS} --zero 3"),
}
"""How a model runs, added to a base whose kernels bind and not its host."""

QUANTIZED: dict[str, str | tuple[str, str] | Witness] = {
    "--quantization": ("--quantization fused", "--quantization eager"),
    "--scaling": ("--scaling static", "--scaling dynamic"),
    "--granularity": ("--compiled --granularity row", "--compiled --granularity tensor"),
}
"""How activations are quantized, added to a base in 8 bits."""

ONE_DEVICE = {
    f"--{layout}-parallel": refused(f"--{layout}-parallel 2") for layout in ("tensor", "sequence", "pipeline", "data")
} | {"--zero": refused("--zero 1")}
"""Layouts where one device runs."""
ONE_REQUEST = {
    "--tensor-parallel": refused("--tensor-parallel 2"),
    "--pipeline-parallel": refused("--pipeline-parallel 2"),
    "--data-parallel": refused("--data-parallel 2"),
    "--zero": refused("--zero 1"),
}
"""Layouts that a generation does not have."""

TOKENS = {
    "--dtype": "--dtype fp8",
    "--batch-size": "--batch-size 2",
    "--seq-len": "--seq-len 32",
    "--phase": "--phase train",
}


def sizes(base: str, video: str) -> dict[str, str | tuple[str, str] | Witness]:
    """Sizes of an image and of a video model."""
    return {
        "--height": at(base, "", "--height 512"),
        "--width": at(base, "", "--width 512"),
        "--frames": at(video, "--frames 9", "--frames 17"),
    }


REQUEST = {
    "--height": "--height 512",
    "--width": "--width 512",
    "--steps": ("--steps 20", "--steps 50"),
    "--guidance": ("--guidance cfg", "--guidance none"),
    "--dtype": "--dtype fp8",
    "--lever": "--lever compile",
    "--batch-size": "--batch-size 2",
}

OFFLOADED = "--placement model-offload"
PLACEMENT = {
    "--placement": "--placement sequential-offload",
    "--text-encoder-dtype": "--text-encoder-dtype int8",
    "--decoder-dtype": "--decoder-dtype fp32",
    "--vae-tiling": ("--height 2048 --width 2048 --vae-tiling", "--height 2048 --width 2048 --no-vae-tiling"),
    "--vae-slicing": ("--batch-size 2", "--batch-size 2 --vae-slicing"),
    "--pcie-gb-s": (OFFLOADED, f"{OFFLOADED} --pcie-gb-s 5"),
    "--caption-model": "--caption-model qwen2.5-0.5b",
    "--caption-tokens": ("--caption-model qwen2.5-0.5b", "--caption-model qwen2.5-0.5b --caption-tokens 20"),
    "--prompt-tokens": ("--caption-model qwen2.5-0.5b", "--caption-model qwen2.5-0.5b --prompt-tokens 30000"),
}

POOL = {"--hardware": "-g l4"}
IMAGE = "pixart-sigma -g h100-sxm --height 256 --width 256 --launch-us 0"
VIDEO = "wan2.1-1.3b -g h100-sxm --height 256 --width 256 --launch-us 0 --steps 50"
SEARCH = "--launch-us 0 -g h100-sxm"
WRITTEN = "spaces new dit -o {out}/new.yaml"
DITS, TINY = f"{{dits}} {SEARCH}", f"{{space}} {SEARCH}"
SPACE_RUN = {
    **EXECUTION,
    "--data-parallel": "--data-parallel 2",
    "--zero": refused("--zero 1"),
    "--set": ("", "--set workload.batch_size=3"),
    "--hardware": "-g l4",
    "--weights": ("-g h100-sxm,l4", "-g h100-sxm,l4 --weights h100-sxm=0.9,l4=0.1"),
    **PROFILES,
}


def with_base(options: Mapping[str, str | tuple[str, str] | Witness], verb: str, **at_bases: str) -> dict[str, Witness]:
    """Witnesses of a table at other bases, by the option's name."""
    found = {}
    for name, base in at_bases.items():
        option = f"--{name.replace('_', '-')}"
        given = Verb("", options).witness(option)
        found[option] = Witness(given.a, given.b, given.by, f"{verb} {base}")
    return found


def narrow(verb: str, more: str = SEARCH) -> dict[str, Witness]:
    """Witnesses of quantization in a space of 8-bit transformers."""
    base = f"{{narrow}} {more}"
    return with_base(QUANTIZED, verb, quantization=base, scaling=base, granularity=base)


LAYERS = "llama-3.2-1b -g h100-sxm --seq-len 64 --phase train"
PAGE = "-o {out}/page.html"
ESTIMATED = "pixart-sigma -g h100-sxm --height 256 --width 256 --launch-us 0"

VERBS: dict[str, Verb] = {
    "estimate": Verb(
        f"estimate {ESTIMATED}",
        {
            "--hardware": "-g l4",
            "--checkpointing": ("--phase train", "--phase train --checkpointing"),
            "--allow-code": refused("--allow-code", base="estimate {mine}:tower -g h100-sxm"),
            **JSON,
            **PROFILES,
            **TOKENS,
            "--seq-len": at("estimate bert-base -g h100-sxm", "--seq-len 64", "--seq-len 32"),
            **sizes(f"estimate {ESTIMATED}", "estimate wan2.1-1.3b -g h100-sxm --height 256 --width 256"),
            **EXECUTION,
            **with_base(EXECUTION, "estimate", tensor_parallel=LAYERS, pipeline_parallel=LAYERS),
        },
    ),
    "explain": Verb(
        f"explain {ESTIMATED}",
        {
            "--hardware": "-g l4",
            "--checkpointing": ("--phase train", "--phase train --checkpointing"),
            "--set": at("explain {space}:1", "", "--set workload.batch_size=3"),
            "--storage": refused("--storage {store}", base="explain done:1"),
            "--allow-code": refused("--allow-code", base="explain {mine}:tower -g h100-sxm"),
            **JSON,
            **PROFILES,
            **TOKENS,
            "--seq-len": at("explain bert-base -g h100-sxm", "--seq-len 64", "--seq-len 32"),
            **sizes(f"explain {ESTIMATED}", "explain wan2.1-1.3b -g h100-sxm --height 256 --width 256"),
            **EXECUTION,
            **with_base(EXECUTION, "explain", tensor_parallel=LAYERS, pipeline_parallel=LAYERS),
        },
    ),
    "enumerate": Verb(
        f"enumerate {DITS}",
        {
            **SPACE_RUN,
            "--output": files("--output {out}/front.csv"),
            "--allow-code": refused("--allow-code", base="enumerate {built} -g h100-sxm"),
            **JSON,
            **with_base(EXECUTION, "enumerate", tensor_parallel=TINY, pipeline_parallel=TINY, fused_qkv=TINY),
            **narrow("enumerate"),
        },
        exempt={
            "--scheduler": "needs a Dask scheduler (tests/services)",
            "--long": "lets what takes over an hour go on (tests/test_bad_input.py)",
        },
    ),
    "build": Verb(
        "build {space}:1",
        {
            "--output": files("--output {out}/script.py"),
            "--hardware": refused("-g t4"),
            "--storage": refused("--storage {store}", base="build done:1"),
            "--allow-code": reason("--allow-code", base="build {built}:1"),
            **JSON,
            "--profiles": refused("--profiles {profiles}", base="build {space}:1 -g own-gpu"),
            "--dtype": at("build bert-base", "", "--dtype fp16"),
            "--batch-size": at("build bert-base", "", "--batch-size 2"),
            "--seq-len": at("build bert-base", "", "--seq-len 32"),
            "--phase": at("build gpt2", "", "--phase decode"),
            **sizes("build dit-s-2 --height 256 --width 256", "build wan2.1-1.3b --height 256 --width 256"),
        },
    ),
    "diff": Verb(
        "diff {answer_a} {answer_b}",
        {**JSON, "--profiles": "--profiles {profiles}"},
    ),
    "recommend": Verb(
        f"recommend {DITS}",
        {
            **SPACE_RUN,
            "--max-latency-ms": "--max-latency-ms 0.5",
            "--max-parameters": "--max-parameters 1e7",
            "--max-memory-gib": "--max-memory-gib 0.16",
            "--where": "--where 'num_layers <= 2'",
            "--reference": "--reference dit-s-4",
            "--faster-on": refused("--faster-on l4", base=f"recommend {DITS},l4 --reference dit-s-8"),
            "--prefer": ("--prefer speed", "--prefer quality"),
            "--top": "--top 2",
            "--rank": "--rank 2",
            "--format": text("--format yaml", "--format table"),
            "--storage": refused("--storage {store}", base="recommend done"),
            "--allow-code": refused("--allow-code", base="recommend {built} -g h100-sxm"),
            **JSON,
            **with_base(EXECUTION, "recommend", tensor_parallel=TINY, pipeline_parallel=TINY, fused_qkv=TINY),
            **narrow("recommend"),
        },
    ),
    "report": Verb(
        f"report {ESTIMATED} {PAGE}",
        {
            "--output": files("--output {out}/other.html"),
            "--kind": at(f"report dit-xl-2 -g h100-sxm {PAGE}", "--kind model", "--kind pipeline"),
            "--hardware": "-g l4",
            "--top": at(f"report {TINY} {PAGE}", "", "--top 2"),
            "--storage": refused("--storage {store}", base=f"report done {PAGE}"),
            "--allow-code": refused("--allow-code", base=f"report {{mine}}:tower -g h100-sxm {PAGE}"),
            **JSON,
            **PROFILES,
            **TOKENS,
            "--seq-len": at(f"report bert-base -g h100-sxm {PAGE}", "--seq-len 64", "--seq-len 32"),
            **sizes(f"report {ESTIMATED} {PAGE}", f"report wan2.1-1.3b -g h100-sxm --height 256 --width 256 {PAGE}"),
            **EXECUTION,
            **with_base(EXECUTION, "report", tensor_parallel=f"{LAYERS} {PAGE}", pipeline_parallel=f"{LAYERS} {PAGE}"),
        },
    ),
    "validate": Verb(
        "validate {measured}",
        {
            "--output": files("--output {out}/predicted.csv"),
            "--by": "--by gpu,op,dtype,k",
            "--split": "--split test",
            "--report": files("--report {out}/page.html"),
            "--correction": ("--correction", "--no-correction"),
            **JSON,
            "--profiles": "--profiles {profiles}",
        },
    ),
    "quality": Verb(
        "quality dit-xl-2",
        {
            "--proxy": at("quality gpt2", "--proxy chinchilla-besiroglu", "--proxy chinchilla"),
            "--tokens": at("quality gpt2", "", "--tokens 1e9"),
            "--inference-tokens": at("quality gpt2", "", "--inference-tokens 1e12"),
            "--steps": at("quality pixart-sigma", "--steps 20", "--steps 10"),
            "--guidance": at("quality dit-xl-2", "--guidance cfg", "--guidance none"),
            "--distilled": at("quality flux1-dev", "--steps 4", "--steps 4 --distilled"),
            "--family": refused("--family decoder", base="quality {shapes}"),
            "--training-free": at("quality {shapes} --family decoder", "", "--training-free"),
            "--train": at("quality {shapes} --family decoder", "", "--train --train-steps 30"),
            "--train-steps": at("quality {shapes} --family decoder --train", "--train-steps 30", "--train-steps 40"),
            "--data": at("quality {shapes} --family decoder --train --train-steps 30", "", "--data {text}"),
            "--device": refused("--device warp", base="quality {shapes} --family decoder --training-free"),
            "--output": Witness("", "--output {out}/scored.csv", FILES, "quality {shapes} --family decoder"),
            "--list": refused("--list", base="quality"),
            **JSON,
        },
    ),
    "hardware list": Verb(
        "hardware list",
        {
            "--supports": ("--supports fp8", "--supports fp4"),
            "--min-memory-gib": "--min-memory-gib 100",
            "--architecture": "--architecture hopper",
            "--vendor": "--vendor amd",
            "--sort": ("--sort bandwidth", "--sort power"),
            **JSON,
            "--profiles": "--profiles {profiles}",
        },
    ),
    "hardware show": Verb("hardware show h100-sxm", {**JSON, "--profiles": "--profiles {profiles}"}),
    "hardware compare": Verb(
        "hardware compare h100-sxm l4",
        {"--differing": "--differing", **JSON, "--profiles": "--profiles {profiles}"},
    ),
    "models list": Verb("models list", JSON),
    "doctor": Verb("doctor", {**JSON, "--profiles": "--profiles {profiles}"}),
    "models show": Verb("models show bert-base", JSON),
    "models fields": Verb("models fields decoder", JSON),
    "spaces list": Verb("spaces list", JSON),
    "spaces show": Verb("spaces show {space}", JSON),
    "spaces new": Verb(
        "spaces new dit",
        {
            "--parameters": "--parameters 200M",
            "--output": files("--output {out}/new.yaml"),
            "--like": "--like dit-b-2",
            "--hardware": "-g t4",
            "--name": "--name other",
            "--overwrite": refused("--overwrite", base=f"{WRITTEN}; {WRITTEN}"),
            **JSON,
            "--profiles": refused("--profiles {profiles}", base="spaces new dit -g own-gpu"),
        },
    ),
    "spaces schema": Verb("spaces schema", {"--of": "--of pipeline", **JSON}),
}

NEW = "--storage {out}/new.journal --name s"
TRAINED = "{space} -g h100-sxm " + NEW + " --objective train --trainer {mine}:train --allow-code"
FILLED = f"{TINY} {NEW} --strategy random"
ROWS = "study export s --storage {out}/new.journal -o {out}/rows.csv"
FILL = "study resume s --storage {out}/new.journal --trials 14 --allow-code"


def tried(verb: str, few: str = "") -> dict[str, Witness]:
    """Witnesses of how trials are evaluated; ``few`` keeps a study small."""
    new, trained = f"{verb} {{space}} -g h100-sxm {NEW}{few}", f"{verb} {TRAINED}{few}"
    return {
        "--objective": at(new, "", "--objective train --trainer {mine}:train --allow-code"),
        "--trainer": at(trained, "", "--trainer {mine}:other"),
        "--steps": at(trained, "--steps 3", "--steps 27"),
        "--pruner": at(trained, "", "--pruner none"),
        "--keep": at(trained, "--keep 1", "--keep 0.25"),
        "--device": refused("--device warp", base=f"{new} --objective benchmark"),
    }


VERBS |= {
    "study run": Verb(
        f"study run {DITS} {NEW}",
        {
            **SPACE_RUN,
            **with_base(
                EXECUTION,
                "study run",
                tensor_parallel=f"{TINY} {NEW}",
                pipeline_parallel=f"{TINY} {NEW}",
                fused_qkv=f"{TINY} {NEW}",
            ),
            **narrow("study run", f"{SEARCH} {NEW}"),
            **tried("study run", " --trials 12"),
            "--trials": ("--strategy random --trials 5", "--strategy random --trials 10"),
            "--strategy": ("--trials 8 --strategy random", "--trials 8 --strategy exhaustive"),
            "--storage": refused("--storage {out}/other.journal"),
            "--name": refused("--name other"),
            "--seed": ("--strategy random --trials 5", "--strategy random --trials 5 --seed 1"),
            "--overwrite": replace(
                refused("--overwrite", base="study run {space} --storage {store_copy} --name done"), alone=True
            ),
            "--allow-code": refused("--allow-code", base=f"study run {{built}} -g h100-sxm {NEW}"),
            **JSON,
        },
        then=ROWS,
        exempt={"--scheduler": "needs a Dask scheduler (tests/services)"},
    ),
    "study create": Verb(
        f"study create {DITS} {NEW} --strategy random",
        {
            **SPACE_RUN,
            **with_base(EXECUTION, "study create", tensor_parallel=FILLED, pipeline_parallel=FILLED, fused_qkv=FILLED),
            **narrow("study create", f"{SEARCH} {NEW} --strategy random"),
            **tried("study create"),
            "--strategy": ("--strategy random", "--strategy hybrid"),
            "--storage": refused("--storage {out}/other.journal"),
            "--name": refused("--name other"),
            "--seed": ("", "--seed 1"),
            "--allow-code": replace(
                refused("--allow-code", base=f"study create {{built}} -g h100-sxm {NEW} --strategy random"), alone=True
            ),
            "--profiles": replace(refused("-g own-gpu --profiles {profiles}", "-g own-gpu"), alone=True),
            **JSON,
        },
        then=f"{FILL}; {ROWS}",
    ),
    "study resume": Verb(
        "study resume sampled --storage {store_copy}",
        {
            "--trials": ("--trials 3", "--trials 6"),
            "--until": ("--trials 6", "--trials 6 --until 8"),
            "--storage": refused("--storage {out}/other.journal"),
            "--allow-code": refused("--allow-code", base="study resume trained --trials 2 --storage {store_copy}"),
            **JSON,
            "--profiles": refused("--profiles {profiles}", base="study resume own --trials 2 --storage {store_copy}"),
        },
    ),
    "study worker": Verb(
        "study worker sampled --storage {store_copy} --seed 1 --trials 4",
        {
            "--seed": "--seed 2",
            "--trials": ("--trials 3", "--trials 6"),
            "--until": "--until 6",
            "--storage": refused("--storage {out}/other.journal"),
            "--allow-code": refused(
                "--allow-code", base="study worker trained --seed 1 --trials 2 --storage {store_copy}"
            ),
            **JSON,
            "--profiles": refused(
                "--profiles {profiles}", base="study worker own --seed 1 --trials 2 --storage {store_copy}"
            ),
        },
        then="study export sampled --storage {store_copy} -o {out}/rows.csv",
    ),
    "study list": Verb("study list --storage {store}", {"--storage": "--storage {out}/other.journal", **JSON}),
    "study show": Verb(
        "study show done --storage {store}",
        {
            "--storage": refused("--storage {out}/other.journal"),
            "--profiles": at("study show own --storage {store}", "", "--profiles {profiles}"),
            **JSON,
        },
    ),
    "study export": Verb(
        "study export done --storage {store} -o {out}/rows.csv",
        {
            "--output": files("-o {out}/rows.parquet"),
            "--front": files("--front"),
            "--table": files("--table front"),
            "--storage": refused("--storage {out}/other.journal"),
            **JSON,
        },
    ),
    "study delete": Verb(
        "study delete done --storage {store_copy}", {"--storage": refused("--storage {out}/other.journal"), **JSON}
    ),
    "ui": Verb(
        "ui",
        {},
        exempt=dict.fromkeys(
            ("--model", "--hardware", "--storage", "--host", "--port", "--browser", "--json", "--profiles"),
            "serves until it is stopped (tests/test_ui.py, tests/browser)",
        ),
    ),
    "study proxy": Verb(
        "study proxy",
        {},
        exempt=dict.fromkeys(
            ("--storage", "--host", "--port", "--json"), "serves until it is stopped (tests/services)"
        ),
    ),
    "bench run": Verb(
        "bench run --device cpu -o {out}/rows.csv --only memory",
        {
            "--output": files("-o {out}/rows.parquet"),
            "--suite": "--suite full",
            "--device": refused("--device warp"),
            "--gpu": files("--gpu own-gpu"),
            "--dtype": files("--dtype bf16", "--dtype fp32"),
            "--budget-minutes": "--budget-minutes 1e-9",
            "--only": "--only wave",
            **JSON,
        },
    ),
    "bench verify": Verb(
        "bench verify {dits} --device cpu --gpu h100-sxm --top 1 --launch-us 0",
        {
            **EXECUTION,
            **ONE_DEVICE,
            **with_base(EXECUTION, "bench verify {space} --device cpu --gpu h100-sxm", fused_qkv="--top 1"),
            **narrow("bench verify", "--device cpu --gpu h100-sxm --top 1 --launch-us 0"),
            "--top": "--top 2",
            "--device": refused("--device warp"),
            "--gpu": "--gpu l4",
            "--hardware": "--hardware l4",
            "--recalibrate": "--recalibrate {out}/rows.csv",
            "--output": files("--output {out}/rows.csv"),
            "--storage": refused("--storage {store}", base="bench verify done --device cpu --gpu h100-sxm"),
            "--allow-code": reason("--allow-code", base="bench verify {built} --device cpu --gpu h100-sxm"),
            **JSON,
            "--profiles": "--profiles {profiles}",
        },
    ),
    "bench calibrate": Verb(
        "bench calibrate {rows} -o {out} --date 2026-01-01",
        {
            "--from": Witness("{rows}", "--from {rows_dir}", FILES, "bench calibrate -o {out} --date 2026-01-01"),
            "--only": refused("--only attention/", base="bench calibrate --from {rows_dir} -o {out}"),
            "--gpu": refused("--gpu l4"),
            "--accept-inferred": refused(
                "--accept-inferred", base="bench calibrate --gpu guessed-gpu --profiles {profiles}"
            ),
            "--output": files("--output {out}/below"),
            "--date": files("--date 2026-01-02"),
            **JSON,
            "--profiles": reason("--profiles {profiles}", base="bench calibrate {rows} -o {out} --gpu own-gpu"),
        },
        exempt={"--device": "read for a device that has no profile yet (tests/test_bench_personal.py)"},
    ),
    "pipeline list": Verb("pipeline list", JSON),
    "pipeline levers": Verb("pipeline levers", JSON),
}


def generation(verb: str, video: str = VIDEO) -> dict[str, str | tuple[str, str] | Witness]:
    """Witnesses of one generation of a pipeline."""
    return {
        **REQUEST,
        **PLACEMENT,
        "--frames": at(f"{verb} {video}", "--frames 9", "--frames 17"),
        **EXECUTION,
        **ONE_REQUEST,
        **PROFILES,
        **JSON,
    }


SERVED = "pixart-sigma -g h100-sxm=4 --height 256 --width 256 --launch-us 0 --max-batch 2"
CLIPS = f"{VIDEO} --max-batch 1"


def serving(verb: str, more: str) -> dict[str, str | tuple[str, str] | Witness]:
    """Witnesses of what the jobs of ``serve`` share."""
    found = generation(verb, video=f"{CLIPS}{more}") | {
        "--hardware": "-g l40s=40",
        "--p50-s": refused("--p50-s 0.001"),
        "--p95-s": refused("--p95-s 0.001"),
        "--p99-s": refused("--p99-s 0.001"),
        "--max-batch": ("--max-batch 1", "--max-batch 2"),
        "--mix": at(
            f"{verb} pixart-sigma -g h100-sxm=8{more}", "--mix 256x256=1", "--mix 256x256=0.5 --mix 512x512=0.5"
        ),
        "--price": "--price h100-sxm=1",
        **REPORT,
    }
    del found["--batch-size"]
    many = "--height 2048 --width 2048 -g h100-sxm=99"
    return found | {
        "--text-encoder-dtype": (OFFLOADED, f"{OFFLOADED} --text-encoder-dtype int8"),
        "--vae-tiling": (f"{many} --vae-tiling", f"{many} --no-vae-tiling"),
        "--vae-slicing": ("--max-batch 2", "--max-batch 2 --vae-slicing"),
    }


VERBS |= {
    "pipeline estimate": Verb(
        f"pipeline estimate {IMAGE}",
        {**generation("pipeline estimate"), "--hardware": "-g l4", "--price": "--price h100-sxm=1", **REPORT},
    ),
    "pipeline fits": Verb(f"pipeline fits {IMAGE}", {**generation("pipeline fits"), "--hardware": "-g l4"}),
    "pipeline compare": Verb(
        f"pipeline compare {IMAGE.replace('pixart-sigma', 'pixart-sigma pixart-sigma')}",
        {
            **generation("pipeline compare", video=f"wan2.1-1.3b {VIDEO} --score wan2.1-1.3b=0.8"),
            "--hardware": "-g l4",
            "--text-encoder-dtype": (OFFLOADED, f"{OFFLOADED} --text-encoder-dtype int8"),
            "--verifier": "--verifier vlm-7b",
            "--samples": "--samples 5",
            "--score": "--score pixart-sigma=0.2",
            "--spread": "--spread 0.1",
            "--fidelity": "--fidelity 0.2",
        },
    ),
    "pipeline student": Verb(
        f"pipeline student {IMAGE} --share 0.6",
        {
            **{n: w for n, w in generation("pipeline student", f"{VIDEO} --share 0.8").items() if n not in PLACEMENT},
            "--hardware": "-g l4",
            "--share": "--share 0.7",
            "--output": files("--output {out}/student.yaml"),
        },
    ),
    "pipeline optimize": Verb(
        f"pipeline optimize {IMAGE}",
        {
            **generation("pipeline optimize"),
            "--hardware": "-g l4",
            "--objective": at(
                "pipeline optimize dit-xl-2 -g h100-sxm --max-gpus 2", "--objective latency", "--objective cost"
            ),
            "--max-latency-ms": refused("--max-latency-ms 1"),
            "--max-memory-gib": "--max-memory-gib 8",
            "--max-gpus": "--max-gpus 2",
            "--training": "--training distill",
            "--min-retained": "--min-retained 1",
            "--retained": "--retained fp8-row=0.5",
            "--price": "--price h100-sxm=1",
            **REPORT,
        },
    ),
    "serve fleet": Verb(
        f"serve fleet {SERVED} --rate 1",
        {
            **serving("serve fleet", " --rate 1"),
            "--rate": "--rate 2",
            "--tier": "--tier sana-0.6b=0.5",
            "--draft": "--draft sana-0.6b",
            "--escalate": ("--draft sana-0.6b", "--draft sana-0.6b --escalate 0.9"),
        },
    ),
    "serve simulate": Verb(
        f"serve simulate {SERVED} --rate 1",
        {**serving("serve simulate", " --rate 1"), "--rate": "--rate 2", "--seed": "--seed 1"},
    ),
    "serve trace": Verb(
        f"serve trace {SERVED} {{arrivals}}",
        {
            **serving("serve trace", " {arrivals}"),
            "--max-batch": ("--p95-s 0.6 --max-batch 1", "--p95-s 0.6 --max-batch 2"),
            "--vae-slicing": ("--p95-s 0.6", "--p95-s 0.6 --vae-slicing"),
        },
    ),
}


IDLE = (
    "estimate bert-base -g h100-sxm --height 512",
    "estimate bert-base -g h100-sxm --frames 9",
    "estimate dit-s-2 -g h100-sxm --frames 9",
    "estimate dit-s-2 -g h100-sxm --seq-len 128",
    "estimate bert-base -g h100-sxm --checkpointing",
    "explain bert-base -g h100-sxm --checkpointing",
    "explain done:1 --storage {store} --compiled",
    "explain done:1 --storage {store} --batch-size 4",
    "build bert-base -g h100-sxm",
    "build {space}:1 --batch-size 4",
    "enumerate {space} --weights h100-sxm=1",
    "recommend {space} --faster-on h100-sxm",
    "recommend {space} --weights h100-sxm=1",
    "recommend done --storage {store} --compiled",
    "recommend {space} --top 1 --rank 2",
    "recommend {space} --format hf --json",
    "quality gpt2 --steps 4",
    "quality gpt2 --family decoder",
    "quality gpt2 --train-steps 30",
    "quality gpt2 --train",
    "quality gpt2 --device cpu",
    "quality gpt2 --output {out}/scored.csv",
    "quality dit-xl-2 --tokens 1e9",
    "quality dit-xl-2 --inference-tokens 1e12",
    "quality {shapes} --family decoder --train-steps 30",
    "quality {shapes} --family decoder --data {text}",
    "quality {shapes} --family decoder --device cpu",
    "quality {shapes} --family decoder --inference-tokens 1e12",
    "quality --list --tokens 1e9",
    "quality --list gpt2",
    "study run {space} --storage {out}/s.db --keep 0.5",
    "study run {space} --storage {out}/s.db --device cpu",
    "study run {space} --storage {out}/s.db --objective benchmark --steps 5",
    "study run {space} --storage {out}/s.db --overwrite",
    "study export done --storage {store} -o {out}/rows.csv --front --table front",
    "bench calibrate {rows} --only attention/ -o {out}",
    "bench calibrate --from {rows_dir} --gpu l4 -o {out}",
    "pipeline estimate pixart-sigma -g h100-sxm --caption-tokens 20",
    "pipeline estimate pixart-sigma -g h100-sxm --prompt-tokens 20",
    "pipeline estimate pixart-sigma -g h100-sxm --pcie-gb-s 5",
    "pipeline estimate pixart-sigma -g h100-sxm --frames 9",
    "pipeline estimate pixart-sigma -g h100-sxm --steps 20 --lever steps-4",
    "pipeline estimate pixart-sigma -g h100-sxm --dtype bf16 --lever fp8",
    "pipeline estimate dit-xl-2 -g h100-sxm --text-encoder-dtype int8",
    "pipeline estimate pixart-sigma -g h100-sxm --price l4=1",
    "pipeline fits pixart-sigma -g h100-sxm --placement auto",
    "pipeline compare pixart-sigma sana-0.6b -g h100-sxm --text-encoder-dtype int8",
    "pipeline compare pixart-sigma sana-0.6b -g h100-sxm --score flux-dev=0.5",
    "pipeline optimize pixart-sigma -g h100-sxm --retained nonsense=0.5",
    "pipeline optimize pixart-sigma -g h100-sxm --objective nonsense",
    "pipeline optimize pixart-sigma -g h100-sxm --min-retained 7",
    "pipeline optimize pixart-sigma -g h100-sxm --placement auto",
    "serve fleet pixart-sigma -g h100-sxm=4 --rate 1 --escalate 0.5",
    "serve fleet pixart-sigma -g h100-sxm=4 --rate 1 --draft sana-0.6b --tier sana-0.6b=0.5",
    "serve fleet pixart-sigma -g h100-sxm=4 --rate 1 --mix 256x256=1 --height 512",
    "serve fleet pixart-sigma -g h100-sxm=4 --rate 1 --mix 256x256=1 --max-batch 2",
    "serve fleet pixart-sigma -g h100-sxm=4 --rate 1 --price l4=1",
)
"""Calls with an option that nothing would read there: refused."""
