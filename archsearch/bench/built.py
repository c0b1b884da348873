"""Architectures as real torch modules, timed whole and by layer on the device at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archsearch.arrays import Dim
from archsearch.bench.micro.timing import CudaStopwatch, Timing, measure, stopwatch_for
from archsearch.errors import UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.ops import Attention
from archsearch.workload import Phase, Workload

if TYPE_CHECKING:
    import torch

BUDGET_S = 3.0
"""Longest time that the repeats of one whole model or layer take."""
RECOMPILES = 64
"""Versions of one layer's code that may be compiled before torch goes back to eager execution (its default is 8):
layers of one model share their code, and differ in masks and windows."""
LAYER = 1
"""The layer that is timed alone: what a second layer adds to a model of one (a first layer may lack a norm)."""


@dataclass(frozen=True, slots=True)
class Built:
    """A module with random weights on a device, and the arguments of one call of the workload."""

    module: torch.nn.Module
    arguments: dict[str, Any]
    layers: torch.nn.ModuleList | None
    """Its repeated layers (a ModuleList), or None where it has several stacks."""


def build_module(config: ModelConfig, workload: Workload, device: torch.device) -> Built:
    """The module of a config (``models/huggingface/script.py``), ready for inference.

    Raises:
        UnsupportedError: no class has this shape, or its library is not installed.
    """
    import torch

    from archsearch.models.huggingface.script import build_script

    if workload.phase not in (Phase.FORWARD, Phase.PREFILL):
        raise UnsupportedError(f"modules are timed in the phases forward and prefill, not {workload.phase.value}")
    script: dict[str, Any] = {"__name__": "archsearch_built"}
    try:
        exec(compile(build_script(config, workload, "built"), "<archsearch build>", "exec"), script)
    except ImportError as error:
        raise UnsupportedError(f"timing real modules needs {error.name}: pip install 'archsearch[models]'") from None
    torch.manual_seed(0)
    module = script["build"](str(device))
    arguments = script["inputs"](str(device))
    if workload.phase is Phase.PREFILL:
        arguments["logits_to_keep"] = 1
    if "input_ids" in arguments:  # all tokens attend: without the mask nothing has to look whether they do
        arguments.pop("attention_mask", None)
        if hasattr(getattr(module, "config", None), "use_cache"):  # a cache makes a compiler's guards layer by layer
            module.config.use_cache = False
    return Built(module, arguments, _layers(module, getattr(config, "num_layers", None)))


def _layers(module: torch.nn.Module, num_layers: Dim | None) -> torch.nn.ModuleList | None:
    import torch

    if num_layers is None:
        return None
    lists = (m for m in module.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == int(num_layers))
    return next(lists, None)  # the outermost comes first


def compile_layers(built: Built) -> None:
    """Compile the repeated layers, one graph per kind (regional compilation); the whole where nothing repeats."""
    import torch

    torch._dynamo.config.recompile_limit = RECOMPILES
    stacks = [m for m in built.module.children() if isinstance(m, torch.nn.ModuleList) and len(m) > 1]
    stacks += [built.layers] if built.layers is not None and built.layers not in stacks else []
    for layer in [layer for stack in stacks for layer in stack] or [built.module]:
        layer.compile(dynamic=False)


def time_model(built: Built, device: torch.device) -> Timing:
    """One call of the whole module."""
    return _time(lambda: built.module(**built.arguments), device)


def time_layer(built: Built, device: torch.device) -> Timing | None:
    """One call of one layer on the inputs that the model gives it; None where there is no second layer."""
    import torch

    if built.layers is None or len(built.layers) <= LAYER:
        return None
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def catch(_: torch.nn.Module, positional: tuple[object, ...], named: dict[str, object]) -> None:
        calls.append((positional, dict(named)))

    layer = built.layers[LAYER]
    handle = layer.register_forward_pre_hook(catch, with_kwargs=True)
    with torch.no_grad():
        built.module(**built.arguments)
    handle.remove()
    positional, named = calls[0]
    if "past_key_values" in named:  # a cache would grow with every call
        named["past_key_values"] = None
    return _time(lambda: layer(*positional, **named), device)


def plain_layer(config: ModelConfig, workload: Workload, device: torch.device, *, compiled: bool) -> Timing:
    """One layer in plain torch (``micro.blocks``) of an architecture that no library's class has.

    Raises:
        UnsupportedError: a family that has no plain layer.
    """
    import torch

    from archsearch.bench.micro.model_blocks import block_inputs, make_block
    from archsearch.bench.micro.operations import DTYPES

    kind: str = getattr(config, "plain_layer", "")
    if not kind:
        raise UnsupportedError(f"no class and no plain layer of family {config.family} has this shape")
    names = ("hidden_size", "num_attention_heads", "intermediate_size")
    dims = {name: int(getattr(config, name)) for name in names}
    attention = next(op for op in config.lower(workload) if isinstance(op, Attention))
    dims |= {"batch": int(workload.batch_size), "seq": int(attention.seq_q)}
    dtype = getattr(torch, DTYPES[workload.activation_dtype.value])
    torch.manual_seed(0)
    layer = make_block(kind, dims).to(device=device, dtype=dtype).eval()
    inputs = [t.to(device=device, dtype=dtype) for t in block_inputs(kind, dims)]
    if compiled:
        layer.compile(dynamic=False)
    return _time(lambda: layer(*inputs), device)


def _time(action: Callable[[], object], device: torch.device) -> Timing:
    """The median of an action's runs, queued as users run it: under a graph's capture transformers builds masks that
    it otherwise leaves out (``is_tracing``, transformers/masking_utils.py), and takes slower attention."""
    import torch

    stopwatch = CudaStopwatch(graphs=False) if device.type == "cuda" else stopwatch_for(device)
    with torch.no_grad():
        return measure([action], stopwatch, budget_s=BUDGET_S, target_s=5e-3)
