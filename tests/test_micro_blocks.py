"""The plain layers that `bench run` times are the layers that the families describe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archsearch.dtypes import DType
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload

torch = pytest.importorskip("torch")
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from archsearch.bench.micro.model_blocks import block_inputs, make_block  # noqa: E402

PRESETS = {
    "decoder": ("llama-2-7b", Workload(phase=Phase.FORWARD, batch_size=2, seq_len=16, dtype=DType.FP32)),
    "encoder": ("bert-base", Workload(phase=Phase.FORWARD, batch_size=2, seq_len=16, dtype=DType.FP32)),
    "dit": ("dit-xl-2", Workload(phase=Phase.FORWARD, batch_size=2, height=64, width=64, dtype=DType.FP32)),
}
DIMS = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 160, "batch": 2, "seq": 16}


@pytest.mark.parametrize("kind", PRESETS)
def test_a_plain_layer_is_what_one_more_layer_adds_to_the_model(kind):
    name, workload = PRESETS[kind]
    sizes = {n: DIMS[n] for n in ("hidden_size", "num_attention_heads", "intermediate_size")}
    if kind == "decoder":
        sizes["num_key_value_heads"] = 4
    one, two = (replace(load_preset(name), **sizes, num_layers=layers) for layers in (1, 2))
    layer = make_block(kind, DIMS)
    assert sum(p.numel() for p in layer.parameters()) == two.parameters() - one.parameters()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer.to("meta")(*(t.to("meta") for t in block_inputs(kind, DIMS)))  # on a CPU attention goes uncounted
    assert counter.get_total_flops() == two.lower(workload).flops() - one.lower(workload).flops()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown block 'unet'; known: decoder, encoder, dit"):
        make_block("unet", DIMS)
