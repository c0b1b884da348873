"""An execution as people give it: by name, as a file, as text, or as changes of another.

``named_execution`` is the only table of defaults: PyTorch as it runs without further ado for a forward pass, training
and encoding, a serving engine for prefill and decode, and kernels back to back at the clock of a benchmark where single
kernels are compared with their measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

from archsearch.cost.execution import BURST, MOST_DIGITS, QUANTIZING, Execution, ExecutionFields, is_served
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.workload import Phase, Workload


def _named(workload: Workload) -> dict[str, Execution]:
    """The named executions, as they run a workload."""
    served = Execution(attention="fastest", compiled=True, cuda_graphs=workload.phase is Phase.DECODE)
    return {
        "torch-eager": Execution(),
        "torch-compiled": Execution(compiled=True),
        "diffusers-compiled": Execution(compiled=True, cuda_graphs=True),
        "vllm": served,
        "kernels": BURST,
    }


def named_execution(name: str, workload: Workload) -> Execution:
    """An execution by name, as it runs a workload.

    ``torch-eager`` and ``torch-compiled`` are PyTorch's newest release without and with torch.compile;
    ``diffusers-compiled`` is ``torch.compile(mode="max-autotune")`` of a pipeline's transformer, which captures CUDA
    graphs (https://huggingface.co/docs/diffusers/optimization/fp16); ``vllm`` is a serving engine: compiled, the
    fastest attention, CUDA graphs in decode (https://docs.vllm.ai/en/latest/design/torch_compile.html,
    https://docs.vllm.ai/en/latest/design/cuda_graphs.html); ``kernels`` is how benchmarks time single kernels.

    Raises:
        UnknownNameError: no such name.
    """
    known = _named(workload)
    if name not in known:
        raise UnknownNameError("execution", name, known, hint="(or give the path of a YAML file, or FIELD=VALUE,...)")
    return known[name]


EXECUTION_NAMES = tuple(_named(Workload()))


def default_execution(workload: Workload) -> Execution:
    """How a workload runs where nobody says: see the module's text."""
    return named_execution("vllm" if is_served(workload) else "torch-eager", workload)


def parse_execution(text: str, workload: Workload) -> Execution:
    """An execution from a name, a YAML or JSON file of its fields (or of an answer's ``execution``), or
    ``FIELD=VALUE,...`` as answers print it.

    Raises:
        UnknownNameError: no such name or field.
        InvalidInputError: a file that holds none, or a value that no run can have.
    """
    if text.endswith((".yaml", ".yml", ".json")):
        return _from_file(Path(text), workload)
    if "=" not in text:
        return named_execution(text, workload)
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    return execution_of({name.strip(): _read_value(value.strip()) for name, _, value in pairs}, workload, text[:80])


def execution_of(values: Mapping[str, object], workload: Workload, where: str = "execution") -> Execution:
    """An execution from field values over ``name``'s, a named execution; over ``torch-eager``'s where none is named, so
    that what an answer prints means the same everywhere. No values at all are the workload's default.

    Raises:
        UnknownNameError: no such field or name.
        InvalidInputError: a value of the wrong kind.
    """
    given = dict(values)
    name = given.pop("name", None)
    if not values:
        return default_execution(workload)
    base = Execution() if name is None else named_execution(str(name), workload)
    return with_changes(base, given, where)


def chosen_execution(
    workload: Workload, execution: Execution | str | None = None, changes: Mapping[str, object] | None = None
) -> Execution:
    """What a caller asks for: an execution, a name or file of one, or the default of the workload, with fields changed.

    Raises:
        UnknownNameError: no such name or field.
        InvalidInputError: a value that no run can have, or scales asked of products that quantize nothing.
    """
    asked = [n for n in QUANTIZING if (changes or {}).get(n, "auto") not in ("auto", "dynamic")]
    if asked and workload.linear_dtype.itemsize >= DType.BF16.itemsize:
        text = f"{{{asked[0]}}} is of 8- and 4-bit products, and {workload.dtype.value} quantizes no activations"
        raise InvalidInputError(f"{text}; add {{dtype}} fp8, int8 or fp4, or leave it out", field=asked[0])
    if execution is None:
        base = default_execution(workload)
    else:
        base = execution if isinstance(execution, Execution) else parse_execution(execution, workload)
    return with_changes(base, changes or {})


def with_changes(base: Execution, changes: Mapping[str, object], where: str = "execution") -> Execution:
    """An execution with fields changed.

    Raises:
        UnknownNameError: no such field.
        InvalidInputError: a value of the wrong kind.
    """
    known = {f.name: f.type for f in fields(Execution)}
    for field, value in changes.items():
        if field not in known:
            raise UnknownNameError("field of an execution", str(field), known, hint=f"(in {where})")
        if not _is_legal(field, value):
            raise InvalidInputError(
                f"{where}: {field}={repr(value)[:40]} is not what this field holds ({known[field]})"
            )
    given = {**changes, **({"torch": str(changes["torch"])} if "torch" in changes else {})}
    return replace(base, **given)  # type: ignore[arg-type]  # _is_legal has seen to it


def _from_file(path: Path, workload: Workload) -> Execution:
    from archsearch.files import read_text
    from archsearch.yaml_records import load_text

    try:
        values = load_text(read_text(path))
    except (InvalidInputError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{{execution}} {path}: cannot be read: {reason}", field="execution") from None
    if isinstance(values, dict) and isinstance(values.get("execution"), dict):
        values = values["execution"]
    if not isinstance(values, dict):
        text = f"{{execution}} {path}: needs fields of an execution, as an answer's JSON prints them"
        raise InvalidInputError(text, field="execution")
    return execution_of(values, workload, str(path))


@cache
def _types() -> Mapping[str, tuple[type, ...]]:
    """The types that a field holds, by field."""
    return {name: get_args(hint) or (hint,) for name, hint in get_type_hints(ExecutionFields).items()}


def _is_legal(field: str, value: object) -> bool:
    """Whether a field may have a value; a number stands for a text that looks like one (``torch=2.8``)."""
    types = _types()[field]
    if value is None or isinstance(value, bool):
        return type(value) in types
    if str in types:
        return isinstance(value, str | int | float)
    return isinstance(value, int | float if float in types else int) and bool not in types


def _read_value(text: str) -> object:
    """A value of a line: a number, true, false, null or a word."""
    words = {"true": True, "false": False, "null": None, "none": None, "": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else float(text)
    except (ValueError, OverflowError):
        return text
