"""Number formats, by the names that users type."""

from __future__ import annotations

from enum import StrEnum

from archsearch.errors import UnknownNameError


class DType(StrEnum):
    """A number format. ``TF32`` is stored as four bytes and multiplied on tensor cores.

    Weight-only formats store the weights of linear layers in fewer bits, with a 16-bit scale a column, and nothing
    else: a kernel turns them into 16 bits in its main loop and multiplies there.
    """

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
    INT8_WEIGHT_ONLY = "int8_weight_only"
    INT4_WEIGHT_ONLY = "int4_weight_only"

    @property
    def itemsize(self) -> float:
        """Bytes per element in memory, of a weight-only format those of what its weights are multiplied with."""
        return _ITEMSIZE[self.multiplied]

    @property
    def weight_itemsize(self) -> float:
        """Bytes per weight of a linear layer."""
        return _ITEMSIZE[self]

    @property
    def weight_only(self) -> bool:
        """Whether weights alone are stored so."""
        return self in _MULTIPLIED

    @property
    def multiplied(self) -> DType:
        """The format whose units multiply it: its own, but for weight-only formats."""
        return _MULTIPLIED.get(self, self)

    @classmethod
    def parse(cls, text: str) -> DType:
        """Read a format from what people and frameworks call it (``fp8_e4m3``, ``torch.bfloat16`` ...).

        Raises:
            UnknownNameError: no such format.

        >>> DType.parse("torch.bfloat16").value
        'bf16'
        """
        key = str(text).lower().removeprefix("torch.")
        key = _SPELLINGS.get(key, key)
        try:
            return cls(key)
        except ValueError:
            raise UnknownNameError("dtype", text, [d.value for d in cls]) from None


_ITEMSIZE = {
    DType.FP32: 4.0,
    DType.TF32: 4.0,
    DType.FP16: 2.0,
    DType.BF16: 2.0,
    DType.FP8: 1.0,
    DType.INT8: 1.0,
    DType.FP4: 0.5,
    DType.INT8_WEIGHT_ONLY: 1.0,
    DType.INT4_WEIGHT_ONLY: 0.5,
}
_MULTIPLIED = {DType.INT8_WEIGHT_ONLY: DType.BF16, DType.INT4_WEIGHT_ONLY: DType.BF16}
_SPELLINGS = {
    "float32": "fp32",
    "float": "fp32",
    "tensorfloat32": "tf32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e4m3fn": "fp8",
    "e4m3": "fp8",
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "int8wo": "int8_weight_only",
    "int8_wo": "int8_weight_only",
    "w8a16": "int8_weight_only",
    "int4": "int4_weight_only",  # as GPTQ and AWQ checkpoints are called: activations stay in 16 bits
    "int4wo": "int4_weight_only",
    "int4_wo": "int4_weight_only",
    "w4a16": "int4_weight_only",
}
