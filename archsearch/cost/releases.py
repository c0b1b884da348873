"""What is known of PyTorch's releases: which kernels run by default in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """A release that stands for those that run the same kernels.

    ``fused_rmsnorm``: RMSNorm is one kernel in eager mode (https://github.com/pytorch/pytorch/releases/tag/v2.8.0).
    ``prefers_cudnn``: scaled_dot_product_attention takes cuDNN where the architecture's ``torch_attention`` says so.
    """

    stands_for: str
    fused_rmsnorm: bool
    prefers_cudnn: bool


RELEASES = {
    "2.4": Release("up to 2.4", fused_rmsnorm=False, prefers_cudnn=False),
    "2.5": Release("2.5.0, and nightly builds before it", fused_rmsnorm=False, prefers_cudnn=True),
    "2.6": Release("2.5.1 to 2.7", fused_rmsnorm=False, prefers_cudnn=False),
    "2.8": Release("2.8 and later", fused_rmsnorm=True, prefers_cudnn=True),
}
"""Releases by the name that ``Execution.torch`` takes.

cuDNN came first on Hopper in 2.5.0 (https://github.com/pytorch/pytorch/releases/tag/v2.5.0), had to be asked for from
2.5.1 on (https://github.com/pytorch/pytorch/pull/138522), and came first again on Hopper and data-centre Blackwell in
2.9 (https://github.com/pytorch/pytorch/pull/162073), of a cuDNN after 9.15 since 2.10
(https://github.com/pytorch/pytorch/pull/174200). What 2.8 itself and a 2.10 with an older cuDNN run there is
``attention=fa2``.
"""
