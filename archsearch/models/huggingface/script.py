"""A runnable torch script of an architecture: the transformers or diffusers class, its config and one call."""

from __future__ import annotations

import pprint
from typing import Any

from archsearch.models.base import ModelConfig
from archsearch.models.huggingface import from_hf_dict, to_hf
from archsearch.models.huggingface.inputs import example_inputs, method_of
from archsearch.workload import Workload

_TEMPLATE = '''"""{title}

python FILE.py                   counts the parameters of the module, on the meta device: no weights
python FILE.py --device cuda     random weights, a few calls on inputs of the planned size, timed

Needs torch and {library}.
"""

import argparse
import time

import torch
import {library}

CONFIG = {config}
INPUTS = {inputs}  # argument: (kind, shape)
PARAMETERS = {parameters}
DTYPE = torch.{dtype}


def build(device="meta", dtype=DTYPE):
    """The module with random weights (none on the meta device), ready for inference."""
    with torch.device(device):
        {construct}
    return model.to(dtype).eval()


def tensor(kind, shape, device, dtype):
    """One input."""
    if kind == "none":
        return None
    if kind == "number":
        return shape
    if kind == "noise":
        return torch.randn(shape, device=device, dtype=dtype)
    if kind == "ids":
        return torch.randint(0, {ids}, shape, device=device)
    if kind == "steps":
        return torch.randint(0, 1000, shape, device=device)
    if kind == "positions":
        return torch.zeros(shape, device=device, dtype=dtype)
    return torch.ones(shape, device=device, dtype=torch.long if kind == "ones" else dtype)


def inputs(device, dtype=DTYPE):
    """Arguments of one call; a dotted name is an item of a dictionary, or of a tuple where it is a number."""
    arguments = {{}}
    for name, (kind, shape) in INPUTS.items():
        name, _, item = name.partition(".")
        value = tensor(kind, shape, device, dtype)
        if item.isdigit():
            arguments[name] = (*arguments.get(name, ()), value)
        elif item:
            arguments.setdefault(name, {{}})[item] = value
        else:
            arguments[name] = value
    return arguments


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="meta")
    parser.add_argument("--calls", type=int, default=5)
    chosen = parser.parse_args()
    model = build(chosen.device)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{{type(model).__name__}}: {{parameters:,}} parameters")
    assert parameters == PARAMETERS, f"{{PARAMETERS:,}} were planned: another version of the library?"
    if chosen.device == "meta":
        return
    arguments = inputs(chosen.device)
    synchronize = torch.cuda.synchronize if chosen.device.startswith("cuda") else (lambda: None)
    with torch.no_grad():
        for call in range(chosen.calls + 1):
            synchronize()
            start = time.perf_counter()
            {call}(**arguments)
            synchronize()
            print(f"{{'warm-up' if call == 0 else 'call'}}: {{1e3 * (time.perf_counter() - start):.3f}} ms")


if __name__ == "__main__":
    main()
'''
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "tf32": "float32"}


def build_script(config: ModelConfig, workload: Workload, title: str) -> str:
    """Python text that builds the architecture's Hugging Face class and calls it on the workload's sizes.

    8- and 4-bit workloads get a 16-bit module: quantization is the serving library's work.

    Raises:
        UnsupportedError: no class has this shape (see ``to_hf``), or the model lacks the workload's phase.
        InvalidInputError: a size that the model needs and the workload lacks.
    """
    document = to_hf(config)
    library = "diffusers" if "_class_name" in document else "transformers"
    return _TEMPLATE.format(
        title=title,
        library=library,
        config=pprint.pformat(document, width=110, sort_dicts=False),
        inputs=pprint.pformat(example_inputs(document, config, workload), width=110, sort_dicts=False),
        parameters=int(to_parameters(document)),
        dtype=_DTYPES.get(workload.activation_dtype.value, "bfloat16"),
        construct=_construct(document, library),
        call=f"model.{method}" if (method := method_of(document, workload)) else "model",
        ids=int(getattr(config, "vocab_size", getattr(config, "num_classes", 1))),
    )


def to_parameters(document: dict[str, Any]) -> Any:
    """Parameters of the class that the document builds, which may hold more than the config's (DiT's embedders)."""
    return from_hf_dict(document).parameters()


def _construct(document: dict[str, Any], library: str) -> str:
    if library == "diffusers":
        return f"model = diffusers.{document['_class_name']}.from_config(CONFIG)"
    cls = document["architectures"][0]
    return f"model = transformers.{cls}(transformers.AutoConfig.for_model(**CONFIG))"
