"""Published and own tables of dimensions and measured quality, as laws of layer weights read them.

    tables = load_tables(Path("../shared/quality_tables"))

Our decoders, Gemstones and the Transformer's variations stand in this repository; the others are read from the folder.
Every table has features [N], measurements (smaller is better; scores are negated), total parameters as its source
counts them, and the recipe that rows must share to be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archsearch.quality.equal_size import EqualSizes, equal_sizes

HERE = Path(__file__).resolve().parent
OWN = HERE / "results" / "quality_decoders_gpu.csv"
VARIATIONS = HERE / "results" / "transformer_variations.csv"
TOKENS = 1e10
"""Training tokens where a table states none: one number for all its rows, so that it orders nothing."""


@dataclass(frozen=True)
class Table:
    """``features`` are arrays [N] by name; ``metric`` says what ``measured`` [N] is, ``is_loss`` whether in nats."""

    name: str
    kind: str
    metric: str
    is_loss: bool
    features: dict[str, np.ndarray]
    measured: np.ndarray
    total: np.ndarray
    recipe: np.ndarray

    def __len__(self) -> int:
        return len(self.measured)

    @property
    def equal(self) -> EqualSizes:
        return equal_sizes(self.measured, self.total, self.recipe.tolist())


def features(**given: Any) -> dict[str, np.ndarray]:
    """What laws read, from layers, widths and the weights of the parts."""
    x = {name: np.asarray(value, float) for name, value in given.items()}
    x = dict(zip(x, np.broadcast_arrays(*x.values()), strict=True))
    weights = x["attention_parameters"] + x["mlp_parameters"]
    return x | {
        "non_embedding_parameters": weights,
        "parameters": weights + x["embedding_parameters"],
        "mlp_to_attention": x["mlp_parameters"] / x["attention_parameters"],
        "width_ratio": x["hidden_size"] / np.sqrt(weights),
        "aspect_ratio": x["hidden_size"] / x["num_layers"],
    }


def of_fields(rows: pd.DataFrame, tokens: Any = TOKENS) -> dict[str, np.ndarray]:
    """Features of a table of config fields, counted as ``archsearch quality FILE.csv`` does."""
    layers, hidden = rows["num_layers"], rows["hidden_size"]
    heads = rows["num_attention_heads"]
    head_dim = rows["head_dim"] if "head_dim" in rows else hidden / heads
    keys = rows.get("num_key_value_heads", heads)
    matrices = np.where(rows["gated_mlp"], 3, 2) if "gated_mlp" in rows else 2
    vocabularies = np.where(rows["tie_word_embeddings"], 1, 2) if "tie_word_embeddings" in rows else 1
    return features(
        num_layers=layers,
        hidden_size=hidden,
        head_dim=head_dim,
        queries_per_kv=heads / keys,
        attention_parameters=layers * hidden * 2 * head_dim * (heads + keys),
        mlp_parameters=layers * hidden * rows["intermediate_size"] * matrices,
        embedding_parameters=rows["vocab_size"] * vocabularies * hidden,
        vocab_size=rows["vocab_size"],
        tokens=tokens,
    )


def _table(name: str, kind: str, metric: str, x: dict[str, np.ndarray], measured: Any, **more: Any) -> Table:
    total = np.asarray(more.get("total", x["parameters"]), float)
    recipe = np.broadcast_to(np.asarray(more.get("recipe", "one"), dtype=object), total.shape)
    loss = more.get("is_loss", True)
    return Table(name, kind, metric, loss, x, np.asarray(measured, float), total, recipe)


def own_decoders() -> Table:
    """Our 36 byte-level decoders, losses averaged over seeds; their size is that of the layers."""
    fields = ["num_layers", "hidden_size", "num_attention_heads", "head_dim", "intermediate_size"]
    rows = pd.read_csv(OWN).groupby(fields, as_index=False)["loss"].mean().assign(vocab_size=256)
    x = of_fields(rows.assign(gated_mlp=False, tie_word_embeddings=False), tokens=1.02e7)
    return _table("our decoders", "decoder", "loss", x, rows["loss"], total=x["non_embedding_parameters"])


def gemstones() -> Table:
    """Gemstones, from the law's own table in laws.yaml: head_dim 128, half the keys, a gate, 50,304 tokens untied."""
    from archsearch.quality.laws import published_laws

    law: Any = published_laws()["shape-aware"]
    h, layers, loss = np.array(law.record.table.rows, dtype=float).T
    rows = pd.DataFrame({"num_layers": layers, "hidden_size": h, "num_attention_heads": h / 128, "head_dim": 128.0})
    rows = rows.assign(num_key_value_heads=h / 256, intermediate_size=4 * h, vocab_size=50304, gated_mlp=True)
    return _table("gemstones", "decoder", "loss", of_fields(rows.assign(tie_word_embeddings=False), 9.9e10), loss)


def variations() -> Table:
    """The Transformer's variations of heads, depth, width and feed-forward: ln of development perplexity."""
    rows = pd.read_csv(VARIATIONS)
    layers, h, key, value = (rows[c] for c in ("num_layers", "hidden_size", "key_dim", "value_dim"))
    heads = rows["num_attention_heads"]
    x = features(
        num_layers=2 * layers,  # encoder and decoder
        hidden_size=h,
        head_dim=key,
        attention_parameters=3 * layers * 2 * h * heads * (key + value),  # self, self and cross
        mlp_parameters=2 * layers * 2 * h * rows["intermediate_size"],
        embedding_parameters=37000 * h,
        tokens=TOKENS,
    )
    return _table("transformer variations", "encoder-decoder", "loss", x, np.log(rows["perplexity"]))


def openlm_grid(folder: Path) -> Table:
    rows = pd.read_csv(folder / "openlm_grid.csv")
    x = of_fields(rows, rows["tokens"])
    return _table("openlm_grid", "decoder", "loss", x, rows["loss"], recipe=rows["batch"])


def nasbench_bert(folder: Path) -> Table:
    """By config fields: every layer mixes tokens (attention, convolution or Fourier) and has one feed-forward."""
    rows = pd.read_csv(folder / "nasbench_bert.csv")
    x, total = of_fields(rows), rows["params_published"]
    return _table("nasbench_bert", "encoder", "GLUE", x, -rows["glue"], total=total, is_loss=False)


def nasbench_bert_weights(folder: Path) -> Table:
    """By weights: attention only where a layer has it, and all of its stacked feed-forwards."""
    rows = pd.read_csv(folder / "nasbench_bert.csv")
    hidden, attending = rows["hidden_size"], rows["self_attention_layers"]
    x = features(
        num_layers=rows["num_layers"],
        hidden_size=hidden,
        head_dim=hidden / rows["num_attention_heads"],
        # layers without attention keep 1 % of its weights: a law of shares needs some
        attention_parameters=4.0 * hidden**2 * attending.clip(lower=0.01 * rows["num_layers"]),
        mlp_parameters=rows["ffn_weights"],
        embedding_parameters=rows["vocab_size"] * hidden,
        tokens=TOKENS,
    )
    total = rows["params_published"]
    return _table("nasbench_bert, stacked", "encoder", "GLUE", x, -rows["glue"], total=total, is_loss=False)


def hat_translation(folder: Path) -> Table:
    """Encoder-decoders: six encoder layers, fewer decoder layers; queries, keys and values are 512 wide."""
    rows = pd.read_csv(folder / "hat_translation.csv")
    h, d = rows["hidden_size"], rows["decoder_hidden_size"]
    encoder, decoder = rows["num_layers"], rows["decoder_layers"]
    cross = 2 * 512.0 * (d + h)
    feed_forward = 2 * encoder * h * rows["intermediate_size"]
    x = features(
        num_layers=encoder + decoder,
        hidden_size=(encoder * h + decoder * d) / (encoder + decoder),
        head_dim=512.0 / rows["num_attention_heads"],
        attention_parameters=encoder * 4 * 512 * h + decoder * (4 * 512 * d + cross),
        mlp_parameters=feed_forward + 2 * decoder * d * rows["decoder_intermediate_size"],
        embedding_parameters=1.0,  # the source counts none
        tokens=TOKENS,
    )
    more = {"total": rows["params_m"], "recipe": rows["recipe"], "is_loss": False}
    return _table("hat_translation", "encoder-decoder", "BLEU", x, -rows["bleu"], **more)


def vocabulary_tao(folder: Path) -> Table:
    """Sizes and vocabularies at equal characters; rows of one size of the layers are one recipe."""
    rows = pd.read_csv(folder / "vocabulary_tao.csv")
    x = of_fields(rows, rows["characters"] / 4)
    loss, recipe = rows["unigram_normalized_loss"], rows["hidden_size"]
    return _table("vocabulary_tao", "decoder", "loss over unigrams", x, loss, recipe=recipe, is_loss=False)


def misfitting(folder: Path) -> Table:
    rows = pd.read_csv(folder / "misfitting.csv")
    return _table(
        "misfitting", "decoder", "loss", of_fields(rows, rows["tokens"]), rows["c4_loss"], recipe=rows["tokens"]
    )


def openlm_overtrain(folder: Path) -> Table:
    """One recipe is a corpus at one ratio of tokens to parameters."""
    rows = pd.read_csv(folder / "openlm_overtrain.csv")
    ratio = (rows["tokens"] / rows["params_published"]).round(0).astype(str)
    x = of_fields(rows, rows["tokens"])
    recipe = rows["dataset"] + " " + ratio
    return _table("openlm_overtrain", "decoder", "loss", x, rows["loss"], recipe=recipe, total=rows["params_published"])


def image_generators(folder: Path) -> Table:
    rows = pd.read_csv(folder / "image_generators.csv").assign(vocab_size=0)
    rows["intermediate_size"] = rows["intermediate_size"].fillna(8 / 3 * rows["hidden_size"])
    x = of_fields(rows)
    recipe = rows["recipe"]
    return _table("image_generators", "image", "FID", x, rows["fid"], recipe=recipe, is_loss=False)


HERE_TABLES: tuple[Callable[[], Table], ...] = (own_decoders, gemstones, variations)
SHARED_TABLES: tuple[Callable[[Path], Table], ...] = (
    openlm_grid, nasbench_bert, nasbench_bert_weights, hat_translation, vocabulary_tao, misfitting, openlm_overtrain,
    image_generators,
)  # fmt: skip


def load_tables(folder: Path | None) -> list[Table]:
    """All tables; without a folder those that stand in this repository."""
    shared = [] if folder is None else [make(folder) for make in SHARED_TABLES]
    return [*shared, *(make() for make in HERE_TABLES)]
