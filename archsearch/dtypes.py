"""Number formats, by the names that users type."""

from __future__ import annotations

from enum import StrEnum

from archsearch.errors import UnknownNameError


class DType(StrEnum):
    """A number format. ``TF32`` is stored as four bytes and multiplied on tensor cores."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"

    @property
    def itemsize(self) -> float:
        """Bytes per element in memory."""
        return _ITEMSIZE[self]

    @classmethod
    def parse(cls, text: str) -> DType:
        """Read a format from what people and frameworks call it (``fp8_e4m3``, ``torch.bfloat16`` ...).

        Raises:
            UnknownNameError: no such format.
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
}
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
}
