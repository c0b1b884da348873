"""Triton kernels whose tiles we choose, so that what a library hides can be measured.

* ``matmul``: C[m, n] = A[m, k] · B[n, k]ᵀ, one program per tile of C, no split of k: tiles and waves are what the
  shapes say. Programs run down columns of tiles in groups of ``GROUP_M`` rows, so that neighbours share operands in L2.
* ``copy``: reads and writes every element once.
* ``norm_modulate``: LayerNorm(x) · (1 + scale) + shift in one pass over rows held in registers, as adaLN needs it.

``check`` compares each with torch in float64. With ``TRITON_INTERPRET=1`` in the environment they run on a CPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

GROUP_M = 8


@triton.jit  # type: ignore[untyped-decorator]
def _matmul(a, b, c, m, n, k, TM: tl.constexpr, TN: tl.constexpr, TK: tl.constexpr, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    pid = tl.program_id(0)
    tiles_m, tiles_n = tl.cdiv(m, TM), tl.cdiv(n, TN)
    in_group = GROUP * tiles_n
    first_m = (pid // in_group) * GROUP
    group_m = min(tiles_m - first_m, GROUP)
    tile_m = first_m + (pid % in_group) % group_m
    tile_n = (pid % in_group) // group_m
    rows, cols, depth = tile_m * TM + tl.arange(0, TM), tile_n * TN + tl.arange(0, TN), tl.arange(0, TK)
    total = tl.zeros((TM, TN), dtype=tl.float32)
    for start in range(0, k, TK):
        inside = start + depth < k
        left = tl.load(
            a + rows[:, None].to(tl.int64) * k + (start + depth)[None, :],
            mask=(rows < m)[:, None] & inside[None, :],
            other=0.0,
        )
        right = tl.load(
            b + cols[None, :].to(tl.int64) * k + (start + depth)[:, None],
            mask=(cols < n)[None, :] & inside[:, None],
            other=0.0,
        )
        total = tl.dot(left, right, total)
    out = c + rows[:, None].to(tl.int64) * n + cols[None, :]
    tl.store(out, total.to(c.dtype.element_ty), mask=(rows < m)[:, None] & (cols < n)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _copy(x, y, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + place, tl.load(x + place, mask=place < count), mask=place < count)


@triton.jit  # type: ignore[untyped-decorator]
def _norm_modulate(x, scale, shift, y, cols, eps, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row, place = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = place < cols
    values = tl.load(x + row * cols + place, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(values, axis=0) / cols
    centred = tl.where(inside, values - mean, 0.0)
    normed = centred / tl.sqrt(tl.sum(centred * centred, axis=0) / cols + eps)
    by = 1.0 + tl.load(scale + place, mask=inside, other=0.0).to(tl.float32)
    out = normed * by + tl.load(shift + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * cols + place, out.to(y.dtype.element_ty), mask=inside)


def matmul(
    a: torch.Tensor, b: torch.Tensor, *, tile_m: int, tile_n: int, tile_k: int = 64, stages: int = 3, warps: int = 4
) -> torch.Tensor:
    """A[m, k] · B[n, k]ᵀ with one program per tile of tile_m × tile_n, walking k in steps of tile_k."""
    (m, k), n = a.shape, b.shape[0]
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    grid = (triton.cdiv(m, tile_m) * triton.cdiv(n, tile_n),)
    _matmul[grid](a, b, c, m, n, k, tile_m, tile_n, tile_k, GROUP_M, num_stages=stages, num_warps=warps)
    return c


def copy(x: torch.Tensor, y: torch.Tensor, *, block: int = 4096) -> torch.Tensor:
    """Copy x into y, both contiguous."""
    count = x.numel()
    _copy[(triton.cdiv(count, block),)](x, y, count, block, num_warps=8)
    return y


def norm_modulate(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """LayerNorm over the last axis of x[rows, cols], times 1 + scale[cols], plus shift[cols]."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    _norm_modulate[(rows,)](x, scale, shift, y, cols, eps, block, num_warps=4 if block <= 4096 else 8)
    return y


def check(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Relative error ‖out − ref‖ / ‖ref‖ of each kernel against torch in float64, over odd sizes, on fresh data."""
    errors: dict[str, float] = {}

    def compare(name: str, out: torch.Tensor, reference: torch.Tensor) -> None:
        error = float((out.double() - reference).norm() / reference.norm())
        errors[name] = max(errors.get(name, 0.0), error if error == error else float("inf"))

    for m, n, k in ((64, 64, 64), (130, 70, 96), (17, 129, 200)):
        a, b = (torch.randn(rows, k, device=device).to(dtype) for rows in (m, n))
        out = matmul(a, b, tile_m=64, tile_n=64, tile_k=32, stages=2)
        compare("matmul", out, a.double() @ b.double().T)
    for rows, cols in ((3, 64), (7, 100), (33, 1152)):
        x, scale, shift = (torch.randn(*shape, device=device).to(dtype) for shape in ((rows, cols), (cols,), (cols,)))
        compare("copy", copy(x, torch.full_like(x, float("nan"))), x.double())
        wide = x.double()
        normed = torch.nn.functional.layer_norm(wide, (cols,), eps=1e-6)
        compare("norm_modulate", norm_modulate(x, scale, shift), normed * (1 + scale.double()) + shift.double())
    return errors
