"""Tiny decoders, their scores at initialisation and short training runs, on a CPU."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from archsearch.errors import InvalidInputError
from archsearch.models.registry.families import load_preset
from archsearch.quality.modules import SmallModel, scaled_down, shape_of
from archsearch.quality.tiny_decoders import Recipe, Shape, Trainer, loss_of, python_corpus, train
from archsearch.quality.trained import TrainSettings, scale_together, successive_halving
from archsearch.quality.training_free import SCORES, Settings, architecture_hash, scores

GPT = Shape(num_layers=2, hidden_size=32, num_attention_heads=3, head_dim=8, intermediate_size=64)
LLAMA = Shape(2, 32, 4, 8, 48, num_key_value_heads=2, gated_mlp=True)
RECIPE = Recipe(steps=20, batch_size=4, seq_len=32, seeds=(0, 1), learning_rates=(2e-3, 4e-3), evaluation_windows=16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory):
    """300 kB of text of the tests' own."""
    directory = tmp_path_factory.mktemp("text")
    source = Path(__file__).read_text()
    for i in range(40):
        (directory / f"{i}.txt").write_text(source * 1)
    return python_corpus(directory)


@pytest.mark.parametrize("shape", [GPT, LLAMA], ids=["gpt", "llama"])
def test_loss_is_that_of_a_plain_module(shape: Shape) -> None:
    """One copy, written again with torch's own attention and linear layers."""
    torch.manual_seed(0)
    seq, h, width = 12, shape.hidden_size, shape.head_dim
    heads, keys, wide = shape.num_attention_heads, shape.kv_heads, shape.intermediate_size
    sizes = [(256, h), (seq, h)]
    layer = [(h, (heads + 2 * keys) * width), (heads * width, h), (h, wide * (1 + shape.gated_mlp)), (wide, h)]
    matrices = [torch.randn(s) * 0.1 for s in [*sizes, *layer * shape.num_layers, (h, 256)]]
    text = torch.randint(0, 256, (5, seq + 1))
    x = F.embedding(text[:, :-1], matrices[0]) + matrices[1]
    for i in range(shape.num_layers):
        qkv, out, up, down = matrices[2 + 4 * i : 6 + 4 * i]
        q, k, v = (F.layer_norm(x, (h,)) @ qkv).split([heads * width, keys * width, keys * width], dim=-1)
        split = [t.view(5, seq, -1, width).transpose(1, 2) for t in (q, k, v)]
        split[1:] = [t.repeat_interleave(heads // keys, dim=1) for t in split[1:]]
        weight = (split[0] @ split[1].transpose(-1, -2)) / math.sqrt(width)
        weight = weight.masked_fill(torch.ones(seq, seq).triu(1).bool(), -torch.inf).softmax(-1)
        x = x + (weight @ split[2]).transpose(1, 2).reshape(5, seq, -1) @ out
        inner = F.layer_norm(x, (h,)) @ up
        inner = F.silu(inner[..., :wide]) * inner[..., wide:] if shape.gated_mlp else F.gelu(inner, approximate="tanh")
        x = x + inner @ down
    expected = F.cross_entropy((F.layer_norm(x, (h,)) @ matrices[-1]).flatten(0, 1), text[:, 1:].flatten())
    flat = torch.cat([m.flatten() for m in matrices])[None]
    assert loss_of(flat, shape, text[None]).item() == pytest.approx(expected.item(), rel=1e-5)
    assert shape.non_embedding_parameters == sum(m.numel() for m in matrices[2:-1])


def test_copies_train_as_if_alone(corpus) -> None:
    together = train(GPT, RECIPE, corpus)
    alone = train(GPT, dataclasses.replace(RECIPE, seeds=(1,), learning_rates=(4e-3,)), corpus)
    assert together is not None
    assert alone is not None
    assert RECIPE.copies[3] == (1, 4e-3)
    assert together.losses[3] == pytest.approx(alone.losses[0], rel=1e-5)
    assert len(set(np.round(together.losses, 6))) == 4


def test_step_is_adamw(corpus) -> None:
    """Against torch.optim.AdamW on the first steps: equal rates for all matrices, no decay, constant schedule."""
    trainer = Trainer(GPT, dataclasses.replace(RECIPE, seeds=(0,), learning_rates=(1e-3,), weight_decay=0.0), corpus)
    trainer.rates.fill_(1e-3)
    trainer.schedule.fill_(1.0)
    weights = torch.nn.Parameter(trainer.weights.clone())
    optimiser = torch.optim.AdamW([weights], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(4):
        optimiser.zero_grad()
        windows = trainer.data[trainer.offsets[step][..., None] + trainer.window]
        loss_of(weights, GPT, windows).sum().backward()
        optimiser.step()
    trainer.run(4)
    torch.testing.assert_close(trainer.weights, weights.detach(), rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_below_that_of_letter_frequencies(corpus) -> None:
    counts = np.bincount(corpus.train, minlength=256) + 1
    entropy = -np.sum(counts / counts.sum() * np.log(counts / counts.sum()))
    result = train(GPT, dataclasses.replace(RECIPE, steps=150, seeds=(0,), learning_rates=(8e-3,)), corpus)
    assert result is not None
    assert result.losses[0] < entropy


def test_built_in_corpus_is_text_of_the_installation() -> None:
    corpus = python_corpus(limit_bytes=1_000_000)
    assert b"def " in corpus.train.tobytes()
    assert len(corpus.validation) > 5_000


def test_modules_have_the_weights_of_their_shape_and_are_seeded() -> None:
    for shape in (GPT, LLAMA):
        model = SmallModel(shape, seed=3)
        assert sum(p.numel() for p in model.blocks.parameters()) == shape.non_embedding_parameters
    again = [SmallModel(GPT, seed=3).head.weight for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], SmallModel(GPT, seed=4).head.weight)


def test_causal_modules_do_not_see_ahead_and_encoders_do() -> None:
    text = torch.randint(0, 256, (1, 16))
    other = text.clone()
    other[0, -1] = (other[0, -1] + 1) % 256
    for causal in (True, False):
        model = SmallModel(LLAMA, causal=causal)
        first, second = (model(model.embed(t))[0, :-1] for t in (text, other))
        assert torch.allclose(first, second, atol=1e-6) == causal


def test_families_become_shapes() -> None:
    shape = shape_of(load_preset("llama-3.2-1b"))
    assert shape == Shape(16, 2048, 32, 64, 8192, 8, True)
    small = scaled_down(shape, 1e6)
    assert small.non_embedding_parameters == pytest.approx(1e6, rel=0.25)
    assert (small.num_layers, small.num_attention_heads) == (16, 32)
    with pytest.raises(InvalidInputError, match="dit"):
        shape_of(load_preset("dit-s-2"))
    with pytest.raises(InvalidInputError, match="experts"):
        shape_of(load_preset("mixtral-8x7b"))


def test_candidates_are_scaled_by_one_factor() -> None:
    large, half = Shape(4, 1024, 16, 64, 4096), Shape(2, 1024, 16, 64, 4096)
    a, b = scale_together([large, half], 4e5)
    assert a.non_embedding_parameters == pytest.approx(4e5, rel=0.25)
    assert b.non_embedding_parameters / a.non_embedding_parameters == pytest.approx(0.5, rel=0.1)


def test_scores_are_cached_by_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(batch_size=4, seq_len=16)
    first = scores(GPT, settings=settings, cache_dir=tmp_path)
    assert set(first) == set(SCORES)
    assert all(map(math.isfinite, first.values()))
    assert architecture_hash(GPT, settings) != architecture_hash(LLAMA, settings)
    assert architecture_hash(GPT, settings) != architecture_hash(GPT, Settings(batch_size=4, seq_len=16, seed=1))

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("archsearch.quality.training_free._compute", refuse)
    assert scores(GPT, settings=settings, cache_dir=tmp_path) == first
    with pytest.raises(AssertionError, match="again"):
        scores(LLAMA, settings=settings, cache_dir=tmp_path)


def test_synflow_is_the_sum_of_saliencies_where_it_can_be_summed(tmp_path: Path) -> None:
    """Straight from the definition, sum |w dR/dw|, on a model small enough not to overflow."""
    settings = Settings(batch_size=2, seq_len=8)
    found = scores(GPT, ["synflow"], settings, cache_dir=tmp_path)["synflow"]
    model = SmallModel(GPT, seq_len=8, seed=0).double()
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    x = torch.ones(1, 8, 32, dtype=torch.float64)
    for block in model.blocks:
        x = block(x, plain=True)
    model.head(x).sum().backward()
    total = sum((p * p.grad).abs().sum().item() for p in model.blocks.parameters())
    assert found == pytest.approx(math.log(total), rel=1e-9)


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no training-free score"):
        scores(GPT, ["beauty"], cache_dir=tmp_path)
    with pytest.raises(InvalidInputError, match="too many"):
        scores(Shape(32, 4096, 32, 128, 16384), cache_dir=tmp_path)
    with pytest.raises(InvalidInputError, match="at least one"):
        successive_halving([])
    with pytest.raises(InvalidInputError, match="too few"):
        TrainSettings(steps=5)
    with pytest.raises(InvalidInputError, match="no such"):
        successive_halving([GPT], TrainSettings(data=tmp_path / "nothing"))
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(InvalidInputError, match="100 kB"):
        successive_halving([GPT], TrainSettings(data=tmp_path))


def test_halving_ranks_a_crippled_candidate_last_and_spends_steps_on_survivors(tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text(Path(__file__).read_text() * 20)
    crippled = dataclasses.replace(GPT, hidden_size=8, num_attention_heads=1, head_dim=2, intermediate_size=8)
    told: list[str] = []
    shapes = [GPT, crippled, LLAMA, dataclasses.replace(GPT, num_layers=1)]
    settings = TrainSettings(steps=80, rungs=2, batch_size=4, seq_len=32, data=text)
    outcomes = successive_halving(shapes, settings, tell=told.append)
    assert sorted(o.rank for o in outcomes) == [1, 2, 3, 4]
    assert outcomes[1].rank == 4
    assert sorted(o.steps for o in outcomes) == [40, 40, 80, 80]
    assert all(a.loss <= b.loss for a in outcomes for b in outcomes if a.steps == b.steps and a.rank < b.rank)
    assert len(told) == 2
