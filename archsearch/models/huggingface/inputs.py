"""What one call of a Hugging Face class takes, for a config and a workload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.models.base import Modality, ModelConfig
from archsearch.models.huggingface import formats
from archsearch.models.huggingface.classes.calls import Call, Inputs, text_inputs
from archsearch.workload import Phase, Workload


def example_inputs(document: Mapping[str, Any], config: ModelConfig, workload: Workload) -> Inputs:
    """Inputs of the class that ``document`` (see ``to_hf``) names, one call of the workload.

    Raises:
        InvalidInputError: a size that the model needs and the workload lacks.
        UnsupportedError: a phase that the model does not have.
    """
    config.lower(workload)  # refuses workloads that do not fit the model
    name = document.get("_class_name")
    inputs = formats()[name].inputs if name else text_inputs
    return inputs(Call(document, config, workload))


def method_of(document: Mapping[str, object], workload: Workload) -> str:
    """The method that runs a workload's phase: ``encode`` or ``decode`` of an autoencoder, "" for the module's call."""
    layout = formats().get(str(document.get("_class_name")))
    is_autoencoder = layout is not None and layout.family.modality is Modality.AUTOENCODER
    return workload.phase.value if is_autoencoder and workload.phase in (Phase.ENCODE, Phase.DECODE) else ""
