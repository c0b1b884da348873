"""Autoencoders of diffusers name a block for each of their ``block_out_channels``; those of a family are all alike."""

from __future__ import annotations

import json
from collections.abc import Mapping

from archsearch.errors import UnsupportedError
from archsearch.models.huggingface.classes.format import Document, Fields, Values


def require_block_types(
    blocks: Mapping[str, str], fields: Fields, values: Values, where: str, *, absent: int | None = None
) -> None:
    """See that every stage is of the family's block, ``blocks`` by the key that names it; ``absent`` is how many the
    class names where a config does not (by default one for each stage).

    Raises:
        UnsupportedError: other blocks, or not as many as stages.
    """
    stages = len(tuple(fields["block_out_channels"]))
    for key, block in blocks.items():
        types = list(values.get(key, (block,) * (stages if absent is None else absent)))
        if types != [block] * stages:
            raise UnsupportedError(
                f"{where}: {key}={json.dumps(types)} is not supported, only {block} for each of the "
                f"{stages} block_out_channels"
            )


def write_block_types(blocks: Mapping[str, str], document: Document) -> None:
    """Name the family's block for every stage of a document."""
    stages = len(document["block_out_channels"])
    document |= {key: [block] * stages for key, block in blocks.items()}
