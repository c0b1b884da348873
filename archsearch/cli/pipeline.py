"""``archsearch pipeline``: latency and memory of a whole image or video pipeline, and what would make it faster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.execution import ExecutionOptions, runs
from archsearch.cli.options import Frames, Height, Json, Profiles, Width
from archsearch.cli.pipeline_answers import (
    answer_estimate,
    answer_fits,
    answer_list,
    answer_optimum,
    answer_scaling,
    answer_student,
    pool_names,
)

Name = Annotated[str | None, typer.Argument(metavar="PRESET|FILE", help="A pipeline (--list) or a YAML file.")]
Hardware = Annotated[
    str | None, typer.Option("--hardware", "-g", metavar="GPU", help="A GPU's id or name; `archsearch hardware list`.")
]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]
GuidanceOption = Annotated[
    str | None, typer.Option("--guidance", help="none, cfg (two passes a step) or distilled (one).")
]
Batch = Annotated[int, typer.Option("--batch-size", "-b", help="Images or videos in one call.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Format of the transformer's linear layers.")]
Levers = Annotated[
    list[str] | None, typer.Option("--lever", help="Pull a lever (--levers); feature-cache=0.5 sets its number.")
]
Place = Annotated[
    str, typer.Option("--placement", help="resident, model-offload, sequential-offload, or auto: fastest that fits.")
]
TextDtype = Annotated[str | None, typer.Option("--text-encoder-dtype", help="Format text encoders are stored in.")]
DecoderDtype = Annotated[str | None, typer.Option("--decoder-dtype", help="Format of the autoencoder.")]
Tiling = Annotated[bool | None, typer.Option("--vae-tiling/--no-vae-tiling", help="Decode tile by tile.")]
Slicing = Annotated[bool, typer.Option("--vae-slicing", help="Decode image by image.")]
PcieOption = Annotated[float | None, typer.Option("--pcie-gb-s", help="Host-to-device GB/s of offloading.")]
Caption = Annotated[str | None, typer.Option("--caption-model", help="A language model that rewrites the prompt.")]
CaptionTokens = Annotated[int, typer.Option("--caption-tokens", help="Tokens that the captioner writes.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", help="Tokens of the prompt that it reads.")]
FitsOn = Annotated[
    str | None, typer.Option("--fits-on", metavar="GPU[,GPU...]|all", help="Where it fits, and the fastest placement.")
]
Against = Annotated[
    str | None, typer.Option("--against", help="A larger pipeline, to compare with best-of-N search on this one.")
]
Verifier = Annotated[str, typer.Option("--verifier", help="Of --against: vlm-1.5b, vlm-7b or clip-l.")]
Samples = Annotated[int | None, typer.Option("--samples", help="Of --against: also show this number of samples.")]
Scores = Annotated[
    list[str] | None, typer.Option("--score", metavar="PIPELINE=S", help="Of --against: score of one sample.")
]
Spread = Annotated[float | None, typer.Option("--spread", help="Of --against: deviation between samples (assumed).")]
Fidelity = Annotated[float | None, typer.Option("--fidelity", help="Of --against: verifier's correlation (assumed).")]
StudentShare = Annotated[
    float | None, typer.Option("--student", help="Search a student that takes at most this share of the time.")
]
StudentFile = Annotated[Path | None, typer.Option("--student-output", help="Of --student: write it as a model YAML.")]
Optimize = Annotated[bool, typer.Option("--optimize", help="Find the best legal combination of levers.")]
ObjectiveOption = Annotated[str, typer.Option("--objective", help="Of --optimize: latency, cost or energy.")]
MaxLatency = Annotated[float | None, typer.Option("--max-latency-s", help="Of --optimize: the service level.")]
MaxMemory = Annotated[float | None, typer.Option("--max-memory-gib", help="Of --optimize: memory of each GPU.")]
MaxGpus = Annotated[int, typer.Option("--max-gpus", help="Of --optimize: GPUs that one request may use.")]
Training = Annotated[str, typer.Option("--training", help="Of --optimize: none, distill or retrain at most.")]
MinRetained = Annotated[float, typer.Option("--min-retained", help="Of --optimize: least share of quality.")]
Retained = Annotated[
    list[str] | None, typer.Option("--retained", metavar="LEVER=SHARE", help="Quality a lever leaves; repeatable.")
]

Report = Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Also draw the answer.")]


@runs
def pipeline(
    name: Name = None,
    hardware: Hardware = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    batch_size: Batch = 1,
    dtype: Dtype = None,
    lever: Levers = None,
    placement: Place = "resident",
    text_encoder_dtype: TextDtype = None,
    decoder_dtype: DecoderDtype = None,
    vae_tiling: Tiling = None,
    vae_slicing: Slicing = False,
    pcie_gb_s: PcieOption = None,
    caption_model: Caption = None,
    caption_tokens: CaptionTokens = 200,
    prompt_tokens: PromptTokens = 300,
    fits_on: FitsOn = None,
    against: Against = None,
    verifier: Verifier = "vlm-1.5b",
    samples: Samples = None,
    score: Scores = None,
    spread: Spread = None,
    fidelity: Fidelity = None,
    student: StudentShare = None,
    student_output: StudentFile = None,
    optimize: Optimize = False,
    objective: ObjectiveOption = "latency",
    max_latency_s: MaxLatency = None,
    max_memory_gib: MaxMemory = None,
    max_gpus: MaxGpus = 1,
    training: Training = "none",
    min_retained: MinRetained = 0.0,
    retained: Retained = None,
    report: Report = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the pipelines.")] = False,
    list_levers: Annotated[bool, typer.Option("--levers", help="List the levers.")] = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    how: ExecutionOptions,
) -> None:
    """Estimate a whole generation pipeline: text encoders, transformer times steps, decoder; memory, cost, levers."""
    if list_all or list_levers:
        answer_list(levers=list_levers, json=json)
        return
    from archsearch.errors import InvalidInputError
    from archsearch.hardware import load_gpu
    from archsearch.pipeline.api import make_plan
    from archsearch.pipeline.pricing import Pricer

    if name is None or (hardware is None and fits_on is None):
        raise InvalidInputError("name a pipeline and a GPU: archsearch pipeline flux-dev --hardware h100-sxm (--list)")
    gpu = load_gpu(hardware or pool_names(fits_on)[0])
    plan, assumed = make_plan(
        name,
        gpu,
        height=height,
        width=width,
        frames=frames,
        steps=steps,
        guidance=guidance,
        batch_size=batch_size,
        dtype=dtype,
        execution=how.execution,
        levers=lever or (),
        placement=None if placement == "auto" else placement,
        text_encoder_dtype=text_encoder_dtype,
        decoder_dtype=decoder_dtype,
        tiling=vae_tiling,
        slicing=vae_slicing,
        pcie_gb_s=pcie_gb_s,
        caption_model=caption_model,
        caption_tokens=caption_tokens,
        prompt_tokens=prompt_tokens,
        **how.changes,
    )
    pricer = Pricer(gpu)
    if fits_on is not None:
        answer_fits(plan, fits_on, json)
    elif against is not None:
        large, _ = make_plan(against, gpu, height=height, width=width, execution=how.execution, **how.changes)
        answer_scaling(plan, large, gpu, verifier, samples, score or [], (spread, fidelity), json)
    elif student is not None:
        answer_student(plan, gpu, student, student_output, json)
    elif optimize:
        limits = (objective, max_latency_s, max_memory_gib, max_gpus, training, min_retained)
        answer_optimum(plan, gpu, pricer, limits, retained or [], report, json)
    else:
        answer_estimate(plan, gpu, pricer, placement == "auto", assumed, report, json)
