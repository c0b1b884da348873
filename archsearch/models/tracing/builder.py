"""Models given as code: ``module:function`` or ``path/to/file.py:function``.

The function says by its parameters what it takes: any of batch_size, seq_len, height, width, frames (numbers) and dtype
(a torch format), and dimensions of its own that have defaults. It returns the module and the inputs of one call, a
mapping of keyword arguments or a sequence. It runs on the meta device, where tensors have shapes but no values.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.models.tracing.traced import Inputs, TracedModel
from archsearch.workload import Workload

if TYPE_CHECKING:
    import torch

SIZES = ("batch_size", "seq_len", "height", "width", "frames")
DEFAULTS = {"seq_len": 512, "height": 512, "width": 512, "frames": 1}
"""Workload sizes that a function asks for and a user leaves open."""
TORCH_NAMES = {"fp32": "float32", "tf32": "float32", "fp16": "float16"}


def is_builder(text: str) -> bool:
    """Whether a model's text names code: an importable module or a .py file, a colon and a function."""
    module, _, function = text.rpartition(":")
    if not module or not function.isidentifier() or Path(text).exists():
        return False
    return module.endswith(".py") or module.replace(".", "").isidentifier()


def load_traced(text: str, dimensions: Mapping[str, object] | None = None) -> TracedModel:
    """The model that a function builds; ``dimensions`` are values for its own parameters.

    Raises:
        InvalidInputError: no such module or function, or parameters that no workload gives.
        UnsupportedError: torch is not installed.
    """
    _need_torch()
    function = find_function(text)
    given = dict(dimensions or {})
    parameters = inspect.signature(function).parameters
    from_workload = {*SIZES, "dtype"}
    missing = [n for n, p in parameters.items() if n not in from_workload | set(given) and p.default is p.empty]
    extra = sorted(set(given) - set(parameters))
    if missing or extra:
        wrong = f"needs {', '.join(missing)} without a default" if missing else f"does not take {', '.join(extra)}"
        raise InvalidInputError(f"{text}: the function {wrong}; workloads give {', '.join((*SIZES, 'dtype'))}")

    def build(workload: Workload) -> tuple[torch.nn.Module, Inputs]:
        values = {n: getattr(workload, n) for n in SIZES if n in parameters and getattr(workload, n) is not None}
        if "dtype" in parameters:
            values["dtype"] = _torch_dtype(workload)
        return _call(text, function, {**values, **given})

    sizes = {n: v for n, v in DEFAULTS.items() if n in parameters and parameters[n].default is inspect.Parameter.empty}
    return TracedModel(name=text, build=build, default_sizes=sizes)


def find_function(text: str) -> Callable[..., Any]:
    """A user's function by ``module:function`` or ``path/to/file.py:function``; importing runs the module's code.

    Raises:
        InvalidInputError: no such module, file or function, or importing fails.
    """
    if not is_builder(text):
        raise InvalidInputError(f"{text!r}: name code as module:function or path/to/file.py:function")
    source, _, name = text.rpartition(":")
    try:
        if source.endswith(".py"):
            path = Path(source)
            if not path.is_file():
                raise InvalidInputError(f"{source}: no such file")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)
            spec.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.insert(0, "")
            module = importlib.import_module(source)
    except ArchSearchError:
        raise
    except Exception as error:
        raise InvalidInputError(f"{source}: importing it fails: {_in_user_code(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InvalidInputError(f"{source} has no function {name!r}")
    builder: Callable[..., Any] = function
    return builder


def _call(text: str, function: Callable[..., object], values: Mapping[str, object]) -> tuple[torch.nn.Module, Inputs]:
    """Run the user's function on the meta device and check what it returns."""
    import torch

    try:
        with torch.device("meta"):
            made = function(**values)
    except Exception as error:
        raise InvalidInputError(f"{text} fails: {_in_user_code(error)}") from error
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], torch.nn.Module):
        raise InvalidInputError(f"{text} must return a pair: an nn.Module, and its inputs as a dict or a tuple")
    module, inputs = made
    if not isinstance(inputs, Mapping | tuple | list):
        raise InvalidInputError(f"{text}: the inputs must be a dict of keyword arguments or a tuple")
    return module.to("meta"), inputs


def _torch_dtype(workload: Workload) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, TORCH_NAMES.get(workload.activation_dtype.value, "bfloat16"))
    return dtype


def _in_user_code(error: BaseException) -> str:
    """The error, and the line of the user's code that raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "archsearch" not in f.filename]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise UnsupportedError("tracing a module needs torch: pip install 'archsearch[torch]'")
