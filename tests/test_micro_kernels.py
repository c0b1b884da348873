"""Our Triton kernels against torch in float64, in Triton's interpreter: nothing here is timed, no GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

CHECK = """
import json, torch
from archsearch.bench.micro import kernels
print(json.dumps({str(t): kernels.check("cpu", t) for t in (torch.float32, torch.float16)}))
"""


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[str, float]]:
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kernel", ["matmul", "copy", "norm_modulate"])
@pytest.mark.parametrize(("dtype", "most"), [("torch.float32", 1e-6), ("torch.float16", 1e-3)])
def test_kernels_agree_with_float64(errors, kernel, dtype, most):
    assert errors[dtype][kernel] <= most
