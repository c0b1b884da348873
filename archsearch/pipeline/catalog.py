"""Pipelines by name or file, with their models resolved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archsearch.data import data_path
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import get_family
from archsearch.models.registry.load import load_model
from archsearch.pipeline.records import ComponentRecord, PipelineRecord, TextEncoderRecord
from archsearch.quality.sampling import check_sampling
from archsearch.quality.sampling_table import Checkpoint, shipped_table
from archsearch.workload import Phase
from archsearch.yaml_records import parse_record

PIPELINES_VARIABLE = "ARCHSEARCH_PIPELINES"


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A text encoder of a pipeline with its model."""

    record: TextEncoderRecord
    config: ModelConfig


@dataclass(frozen=True, slots=True)
class Captioner:
    """A language model that rewrites the prompt: reads ``prompt_tokens`` (instructions and prompt), writes
    ``new_tokens``."""

    name: str
    config: ModelConfig
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationPipeline:
    """Text encoders, a transformer that runs every denoising step, and a decoder.

    The transformer's fields may be arrays that broadcast; then every estimate of the pipeline is one.
    """

    record: PipelineRecord
    text_encoders: tuple[TextEncoder, ...]
    transformer: ModelConfig
    decoder: ModelConfig | None
    checkpoint: Checkpoint
    captioner: Captioner | None = None

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def video(self) -> bool:
        return self.record.modality == "video"

    @property
    def decoder_dtype(self) -> DType | None:
        """The format that the pipeline decodes in, where it is not the transformer's."""
        return None if self.record.decoder is None else self.record.decoder.dtype

    def with_transformer(self, config: ModelConfig) -> GenerationPipeline:
        """The pipeline around another transformer."""
        return replace(self, transformer=config)

    def with_changed_transformer(self, changes: Mapping[str, object]) -> GenerationPipeline:
        """The pipeline around its transformer with fields changed."""
        transformer: Any = self.transformer  # a frozen dataclass of its family
        return replace(self, transformer=replace(transformer, **changes))

    def with_checkpoint(self, checkpoint: Checkpoint) -> GenerationPipeline:
        """The pipeline around a checkpoint that samples otherwise."""
        return replace(self, checkpoint=checkpoint)

    def with_decoder(self, config: ModelConfig, **changes: Any) -> GenerationPipeline:
        """The pipeline with another autoencoder; ``changes`` are fields of its record."""
        decoder = self.record.decoder
        if decoder is not None:
            decoder = decoder.model_copy(update=changes)
        return replace(self, record=self.record.model_copy(update={"decoder": decoder}), decoder=config)

    def with_captioner(self, model: str, *, prompt_tokens: int, new_tokens: int) -> GenerationPipeline:
        """The pipeline with a language model that rewrites the prompt first (caption upsampling).

        Raises:
            InvalidInputError: a model that does not generate text, or token counts below 1.
        """
        config = load_model(model)
        if Phase.DECODE not in getattr(config, "phases", ()) or not hasattr(config, "vocab_size"):
            raise InvalidInputError(f"--caption-model {model}: family {config.family} does not generate text")
        for flag, value in (("prompt-tokens", prompt_tokens), ("caption-tokens", new_tokens)):
            if value < 1:
                raise InvalidInputError(f"--{flag} must be at least 1, not {value}")
        return replace(self, captioner=Captioner(model, config, prompt_tokens, new_tokens))


def resolve(record: PipelineRecord, origin: str) -> GenerationPipeline:
    """The pipeline that a record describes.

    Raises:
        UnknownNameError, InvalidInputError: a component names no model, or describes none; the text says which.
    """
    encoders = tuple(
        TextEncoder(e, _config(e, f"{origin}: text encoder {e.name}", decoder=False)) for e in record.text_encoders
    )
    transformer = _config(record.transformer, f"{origin}: transformer", decoder=False)
    decoder = None if record.decoder is None else _config(record.decoder, f"{origin}: decoder", decoder=True)
    return GenerationPipeline(record, encoders, transformer, decoder, _checkpoint(record, transformer, origin))


def _checkpoint(record: PipelineRecord, transformer: ModelConfig, origin: str) -> Checkpoint:
    """What samples: the named or described checkpoint, else one that only the file's guidance and steps describe.

    Raises:
        InvalidInputError: no such checkpoint, or guidance that it does not run with.
    """
    modes = tuple(mode.value for mode in record.guidance.modes)
    if record.checkpoint is None:
        limits = (1, record.max_steps)
        return Checkpoint(name=record.name, family=transformer.family, guidance=modes, steps=limits)
    if isinstance(record.checkpoint, str):
        known = shipped_table().checkpoints
        if record.checkpoint not in known:
            raise UnknownNameError("checkpoint", record.checkpoint, known, hint=f"({origin})")
        found = known[record.checkpoint]
    else:
        found = Checkpoint(name=record.name, **{**dict(record.checkpoint), "family": transformer.family})
    foreign = [mode for mode in modes if mode not in found.guidance]
    if foreign:
        raise InvalidInputError(
            f"{origin}: guidance.modes: {found.name} runs with {', '.join(found.guidance)}, not with {foreign[0]}"
        )
    return replace(found, guidance=modes)


def check_asked(pipeline: GenerationPipeline, steps: Any, guidance: str) -> None:
    """Refuse steps and guidance that the pipeline's checkpoint is not made for.

    Raises:
        InvalidInputError: with what it runs.
    """
    try:
        check_sampling(pipeline.checkpoint, steps, guidance)
    except InvalidInputError as error:
        raise InvalidInputError(f"{pipeline.name}: {error}") from None


def _config(component: ComponentRecord, where: str, *, decoder: bool) -> ModelConfig:
    try:
        if component.model is not None:
            config = load_model(component.model)
        else:
            family: ModelConfig = get_family(str(component.family)).from_dict(component.config)
            config = family
    except UnknownNameError as error:
        raise InvalidInputError(f"{where}: {error}") from None
    except ArchSearchError as error:
        raise InvalidInputError(f"{where}: {error}") from None
    if decoder and not hasattr(config, "decodes"):
        raise InvalidInputError(f"{where}: family {config.family} is no autoencoder")
    return config


def pipeline_files() -> dict[str, Path]:
    """Pipelines by name: the user's directories in ``ARCHSEARCH_PIPELINES`` first, then what ships."""
    own = [Path(item) for item in os.environ.get(PIPELINES_VARIABLE, "").split(os.pathsep) if item]
    for directory in own:
        if not directory.is_dir():
            raise InvalidInputError(f"{PIPELINES_VARIABLE}: {directory} is not a directory of pipelines (*.yaml)")
    found: dict[str, Path] = {}
    for directory in (*own, data_path("pipelines")):
        for path in sorted(directory.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def list_pipelines() -> list[str]:
    """The pipelines that ship.

    Returns:
        Their names, in order.
    """
    return sorted(pipeline_files())


def load_pipeline(name_or_path: str | Path | GenerationPipeline) -> GenerationPipeline:
    """A pipeline by name, or from a YAML file.

    Args:
        name_or_path: one of ``list_pipelines``, a path, or a pipeline, which is returned.

    Returns:
        The pipeline: its models and its defaults.

    Raises:
        UnknownNameError: no such pipeline; the text lists near names.
        InvalidInputError: the file is malformed; the text gives file, line and field.
    """
    if isinstance(name_or_path, GenerationPipeline):
        return name_or_path
    text = str(name_or_path)
    path = Path(text)
    if not (text.endswith((".yaml", ".yml")) or os.sep in text):
        known = pipeline_files()
        if text not in known:
            raise UnknownNameError("pipeline", text, known, hint="(or give the path of a YAML file)")
        path = known[text]
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file; name a pipeline ({', '.join(list_pipelines())}) or a YAML file")
    return resolve(parse_record(PipelineRecord, path), str(path))
