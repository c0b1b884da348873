"""A runnable torch script of an architecture: its module, its config and one call.

The module is the transformers or diffusers class that is this architecture, else a plain torch module in the script.
"""

from __future__ import annotations

import pprint
import textwrap
from dataclasses import dataclass

from archsearch.errors import UnsupportedError, printable
from archsearch.models.base import ModelConfig
from archsearch.models.huggingface import published_class, to_hf
from archsearch.models.huggingface.classes.format import Document
from archsearch.models.huggingface.inputs import example_inputs, method_of
from archsearch.models.plain import plain_module
from archsearch.workload import Workload

_TEMPLATE = '''"""{title}

python FILE.py                   counts the parameters of the module, on the meta device: no weights
python FILE.py --device cuda     random weights, a few calls on inputs of the planned size, timed

Needs {needs}.
"""

import argparse
import time
{imports}

CONFIG = {config}
INPUTS = {inputs}  # argument: (kind, shape)
PARAMETERS = {parameters}
DTYPE = torch.{dtype}


{source}def build(device="meta", dtype=DTYPE):
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
    """Python text that builds the architecture's module and calls it on the workload's sizes.

    8- and 4-bit workloads get a 16-bit module: quantization is the serving library's work.

    Raises:
        UnsupportedError: no class has this shape (see ``to_hf``) and its family no plain module, or the model lacks the
            workload's phase.
        InvalidInputError: a size that the model needs and the workload lacks.
    """
    module = script_module(config, workload)
    method = method_of(module.inputs_of, workload)
    inputs = {name: tuple(each) for name, each in example_inputs(module.inputs_of, config, workload).items()}
    return _TEMPLATE.format(
        title=_in_docstring(f"{title}\n\n{module.note}" if module.note else title),
        needs=module.needs,
        imports=module.imports,
        source=f"{module.source}\n\n\n" if module.source else "",
        config=pprint.pformat(module.config, width=110, sort_dicts=False),
        inputs=pprint.pformat(inputs, width=110, sort_dicts=False),
        parameters=int(config.parameters()),
        dtype=_DTYPES.get(workload.activation_dtype.value, "bfloat16"),
        construct=module.construct,
        call=f"model.{method}" if method else "model",
        ids=int(getattr(config, "vocab_size", getattr(config, "num_classes", 1))),
    )


def _in_docstring(text: str) -> str:
    """A text between triple quotes, which stays a text whatever it holds: a file's name may hold quotes, backslashes
    and line ends."""
    return printable(text.replace("\r", "\n")).replace("\\", "\\\\").replace('"', '\\"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptModule:
    """What a script builds: ``config`` are its arguments, ``inputs_of`` the document of the class whose inputs it
    takes; ``source`` and ``note`` are empty for a published class."""

    config: Document
    inputs_of: Document
    needs: str
    imports: str
    construct: str
    source: str = ""
    note: str = ""


def script_module(config: ModelConfig, workload: Workload) -> ScriptModule:
    """The published class that is an architecture, else its plain module.

    Raises:
        UnsupportedError: there is neither.
    """
    published = published_class(config)
    if not published.difference:
        document = to_hf(config)
        library = "diffusers" if "_class_name" in document else "transformers"
        return ScriptModule(
            config=document,
            inputs_of=document,
            needs=f"torch and {library}",
            imports=f"\nimport torch\nimport {library}",
            construct=_construct(document, library),
        )
    plain = plain_module(config)
    if plain is None:
        raise UnsupportedError(
            f"no Hugging Face class has this shape ({published.difference}), and family {config.family!r} has no plain "
            "module for it"
        )
    arguments = plain.arguments(config, workload)
    return ScriptModule(
        config=arguments,
        inputs_of={"_class_name": plain.like} | arguments,
        needs="torch",
        imports=plain.imports(),
        construct=f"model = {plain.name}(**CONFIG)",
        source=plain.source(),
        note=textwrap.fill(f"No published class is this architecture: {published.difference}. Here it is.", 100),
    )


def has_module(config: ModelConfig) -> bool:
    """Whether ``build_script`` has a module for an architecture."""
    return not published_class(config).difference or plain_module(config) is not None


def _construct(document: Document, library: str) -> str:
    if library == "diffusers":
        return f"model = diffusers.{document['_class_name']}.from_config(CONFIG)"
    cls = document["architectures"][0]
    return f"model = transformers.{cls}(transformers.AutoConfig.for_model(**CONFIG))"
