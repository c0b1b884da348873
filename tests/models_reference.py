"""The real modules that the families describe, built on the meta device, and what PyTorch dispatches for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
import torch.nn.functional as F
import transformers as hf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

hf.logging.set_verbosity_error()
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def flash_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> torch.Tensor:
    """The fused kernel as one op; the meta device would otherwise take the unfused path of scaled_dot_product."""
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]


def _attention_interface(_module: Any, query: Any, key: Any, value: Any, _mask: Any, **_: Any) -> tuple[Any, None]:
    return flash_attention(query, key, value).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register("one_op", _attention_interface)
ALL_MASK_ATTENTION_FUNCTIONS.register("one_op", lambda *_args, **_kwargs: None)


def _gpt2(layers: int, hidden: int, heads: int, positions: int = 1024) -> Callable[[], torch.nn.Module]:
    config = hf.GPT2Config(n_layer=layers, n_embd=hidden, n_head=heads, n_positions=positions, vocab_size=50257)
    return lambda: hf.GPT2LMHeadModel(config)


def _llama(layers: int, hidden: int, heads: int, kv: int, ffn: int, vocab: int, tied: bool = False) -> Any:
    config = hf.LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=ffn,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        **NO_TOKENS,
    )
    return lambda: hf.LlamaForCausalLM(config)


def _mistral() -> torch.nn.Module:
    return hf.MistralForCausalLM(
        hf.MistralConfig(
            num_hidden_layers=32,
            hidden_size=4096,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=14336,
            vocab_size=32768,
            sliding_window=None,
        )
    )


def _qwen3() -> torch.nn.Module:
    return hf.Qwen3ForCausalLM(
        hf.Qwen3Config(
            num_hidden_layers=36,
            hidden_size=4096,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            intermediate_size=12288,
            vocab_size=151936,
            tie_word_embeddings=False,
        )
    )


def _opt() -> torch.nn.Module:
    return hf.OPTForCausalLM(
        hf.OPTConfig(
            num_hidden_layers=24,
            hidden_size=2048,
            num_attention_heads=32,
            ffn_dim=8192,
            vocab_size=50272,
            max_position_embeddings=2048,
            word_embed_proj_dim=2048,
        )
    )


def bert_config(layers: int, hidden: int, heads: int) -> hf.BertConfig:
    return hf.BertConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=4 * hidden
    )


def modernbert_config(layers: int, hidden: int, heads: int, ffn: int) -> hf.ModernBertConfig:
    return hf.ModernBertConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn
    )


def _dit(layers: int, heads: int, head_dim: int, patch: int) -> Callable[[], torch.nn.Module]:
    return lambda: diffusers.DiTTransformer2DModel(
        num_layers=layers,
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=4,
        out_channels=8,
        patch_size=patch,
        sample_size=32,
    )


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "gpt3-xl": _gpt2(24, 3072, 24, 2048),
    "gpt3-2.7b": _gpt2(32, 2560, 32, 2048),
    "opt-1.3b": _opt,
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008, 32000),
    "llama-2-13b": _llama(40, 5120, 40, 40, 13824, 32000),
    "llama-3-8b": _llama(32, 4096, 32, 8, 14336, 128256),
    "llama-3-70b": _llama(80, 8192, 64, 8, 28672, 128256),
    "llama-3.2-1b": _llama(16, 2048, 32, 8, 8192, 128256, tied=True),
    "llama-3.2-3b": _llama(28, 3072, 24, 8, 8192, 128256, tied=True),
    "mistral-7b": _mistral,
    "qwen3-8b": _qwen3,
    "bert-base": lambda: hf.BertModel(bert_config(12, 768, 12)),
    "bert-large": lambda: hf.BertModel(bert_config(24, 1024, 16)),
    "modernbert-base": lambda: hf.ModernBertModel(modernbert_config(22, 768, 12, 1152)),
    "modernbert-large": lambda: hf.ModernBertModel(modernbert_config(28, 1024, 16, 2624)),
    **{f"dit-s-{p}": _dit(12, 6, 64, p) for p in (2, 4, 8)},
    **{f"dit-b-{p}": _dit(12, 12, 64, p) for p in (2, 4, 8)},
    **{f"dit-l-{p}": _dit(24, 16, 64, p) for p in (2, 4, 8)},
    **{f"dit-xl-{p}": _dit(28, 16, 72, p) for p in (2, 4, 8)},
}
"""Builder of every preset's module, sizes written out from the published configs."""


def on_meta(build: Callable[[], torch.nn.Module], dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    """A module in evaluation mode on the meta device, its attention one fused op."""
    with torch.device("meta"):
        module = build()
    module = module.to(dtype).eval()
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("one_op")
    return module


def count_parameters(module: torch.nn.Module) -> int:
    """Elements of all parameters, tied ones once."""
    return sum(p.numel() for p in module.parameters())


def tokens(batch: int, seq: int) -> dict[str, torch.Tensor]:
    """Inputs of a language model. The mask keeps transformers from looking for packed sequences, which meta cannot."""
    shape = (batch, seq)
    return {
        "input_ids": torch.zeros(shape, dtype=torch.long, device="meta"),
        "attention_mask": torch.ones(shape, dtype=torch.long, device="meta"),
    }


def latents(batch: int, size: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """Inputs of a DiT for square images of ``size`` pixels."""
    return {
        "hidden_states": torch.zeros((batch, 4, size // 8, size // 8), dtype=dtype, device="meta"),
        "timestep": torch.zeros((batch,), dtype=torch.long, device="meta"),
        "class_labels": torch.zeros((batch,), dtype=torch.long, device="meta"),
    }


@contextmanager
def fused_sdpa() -> Iterator[None]:
    """diffusers calls scaled_dot_product_attention: make it the one fused op here too."""
    original = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = flash_attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


class Dispatched(TorchDispatchMode):
    """Kernels that PyTorch dispatches: (name, bytes read, bytes written); and bytes of live results, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[str, int, int]] = []
        self.live_bytes = 0
        self.peak_bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
        inputs = {t.untyped_storage()._cdata for t in read}
        fresh = [
            t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and t.untyped_storage()._cdata not in inputs
        ]
        if fresh:  # everything else is a view
            sizes = [sum(t.numel() * t.element_size() for t in group) for group in (read, fresh)]
            self.kernels.append((func.overloadpacket.__name__, *sizes))
        for tensor in fresh:
            self._track(tensor.untyped_storage())
        return out

    def _track(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live_bytes -= size


def dispatch(module: torch.nn.Module, inputs: dict[str, Any], **options: Any) -> Dispatched:
    """One forward pass without gradients."""
    with torch.no_grad(), fused_sdpa(), Dispatched() as seen:
        output = module(**inputs, **options)
    del output
    return seen
