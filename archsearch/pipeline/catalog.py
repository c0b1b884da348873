"""Pipelines by name or file, with their models resolved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archsearch.arrays import Dim
from archsearch.data import data_path
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.models.base import Modality, ModelConfig
from archsearch.models.registry.families import get_family, preset_family
from archsearch.models.registry.load import load_model
from archsearch.pipeline.pipeline_record import ComponentRecord, PipelineRecord, TextEncoderRecord
from archsearch.quality.sampling import check_sampling
from archsearch.quality.sampling_table import Checkpoint, shipped_table
from archsearch.ranges import require_range
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

    def with_decoder(self, config: ModelConfig, **changes: object) -> GenerationPipeline:
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
            raise InvalidInputError(
                f"{{caption_model}} {model}: family {config.family} does not generate text", field="caption_model"
            )
        require_range("prompt_tokens", prompt_tokens, 1, whole=True)
        require_range("caption_tokens", new_tokens, 1, whole=True)
        return replace(self, captioner=Captioner(model, config, prompt_tokens, new_tokens))


def resolve(record: PipelineRecord, origin: str) -> GenerationPipeline:
    """The pipeline that a record describes.

    Raises:
        UnknownNameError, InvalidInputError: a component names no model, or describes none; the text says which.
    """
    encoders = tuple(TextEncoder(e, _config(e, f"{origin}: text encoder {e.name}")) for e in record.text_encoders)
    transformer = _config(record.transformer, f"{origin}: transformer")
    decoder = None if record.decoder is None else _decoder(record.decoder, f"{origin}: decoder")
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
        checkpoints = shipped_table().checkpoints
        if record.checkpoint not in checkpoints:
            raise UnknownNameError("checkpoint", record.checkpoint, checkpoints, hint=f"({origin})")
        checkpoint = checkpoints[record.checkpoint]
    else:
        checkpoint = Checkpoint(name=record.name, **{**dict(record.checkpoint), "family": transformer.family})
    foreign = [mode for mode in modes if mode not in checkpoint.guidance]
    if foreign:
        runs = ", ".join(checkpoint.guidance)
        raise InvalidInputError(f"{origin}: guidance.modes: {checkpoint.name} runs with {runs}, not with {foreign[0]}")
    return replace(checkpoint, guidance=modes)


def check_asked(pipeline: GenerationPipeline, steps: Dim, guidance: str) -> None:
    """Refuse steps and guidance that the pipeline's checkpoint is not made for.

    Raises:
        InvalidInputError: with what it runs.
    """
    try:
        check_sampling(pipeline.checkpoint, steps, guidance)
    except InvalidInputError as error:
        raise error.about(pipeline.name) from None


def _config(component: ComponentRecord, where: str) -> ModelConfig:
    """The model of a component.

    Raises:
        InvalidInputError: no such model, or fields that describe none.
    """
    try:
        if component.model is not None:
            return load_model(component.model)
        config: ModelConfig = get_family(str(component.family)).from_dict(component.config)
    except ArchSearchError as error:
        raise InvalidInputError.joined([error.about(where)]) from None
    return config


def _decoder(component: ComponentRecord, where: str) -> ModelConfig:
    """The autoencoder of a component.

    Raises:
        InvalidInputError: it describes none.
    """
    config = _config(component, where)
    if not hasattr(config, "decodes"):
        raise InvalidInputError(f"{where}: family {config.family} is no autoencoder")
    return config


def _of_one_model(preset: str) -> str:
    """What to call for a model in place of a pipeline."""
    text = load_model(preset).modality is Modality.CAUSAL_LANGUAGE
    call = f"`archsearch estimate {preset} --phase {'decode' if text else 'forward'} --hardware GPU`"
    return f"it is a model, not a pipeline of several: {call}"


def pipeline_files() -> dict[str, Path]:
    """Pipelines by name: the user's directories in ``ARCHSEARCH_PIPELINES`` first, then what ships."""
    directories = [Path(item) for item in os.environ.get(PIPELINES_VARIABLE, "").split(os.pathsep) if item]
    for directory in directories:
        if not directory.is_dir():
            raise InvalidInputError(f"{PIPELINES_VARIABLE}: {directory} is not a directory of pipelines (*.yaml)")
    files: dict[str, Path] = {}
    for directory in (*directories, data_path("pipelines")):
        for path in sorted(directory.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return files


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
        files = pipeline_files()
        if text not in files:
            if preset_family(text) is not None:
                raise UnknownNameError("pipeline", text, (), near=(), reason=_of_one_model(text))
            raise UnknownNameError("pipeline", text, files, hint="(or give the path of a YAML file)")
        path = files[text]
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file; name a pipeline ({', '.join(list_pipelines())}) or a YAML file")
    return resolve(parse_record(PipelineRecord, path), str(path))
