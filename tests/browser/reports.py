"""Reports for the tests of a browser: of a small space, written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from archsearch.plotting.bars import Bars, figure

from archsearch.plotting.sources import Found
from archsearch.report.search_report import SearchAnswer, search_answer, search_page
from archsearch.report.web_page import Page, Picture, Points, Section, Snippet, Table, render
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.space.space import load_space

SPACE = {
    "description": "Small decoders.",
    "family": "decoder",
    "fixed": {"vocab_size": 8192, "max_position_embeddings": 512, "tie_word_embeddings": True},
    "dimensions": {
        "hidden_size": {"range": [256, 640], "step": 64},
        "intermediate_size": {"choices": [1024, 1536, 2048]},
        "num_layers": {"choices": [4, 6, 8, 10]},
    },
    "derived": {"num_attention_heads": "hidden_size // 64", "num_key_value_heads": "num_attention_heads"},
    "workload": {"phase": "forward", "batch_size": 4, "seq_len": 256, "dtype": "fp16"},
    "quality": {"proxy": "chinchilla-besiroglu", "tokens": 1e9},
    "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
    "pool": {"objectives": ["worst", "weighted"]},
    "hardware": ["t4", "a10"],
    "baseline": {
        **{"num_layers": 6, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8},
        **{"intermediate_size": 2048, "vocab_size": 8192, "max_position_embeddings": 512, "tie_word_embeddings": True},
    },
}


def space_file(folder: Path, name: str = "small-decoders") -> Path:
    """The space as a file."""
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({"name": name, **SPACE}))
    return path


def answer(path: Path) -> SearchAnswer:
    """What a report of it shows."""
    return search_answer(load_space(path))


def crowded(small: SearchAnswer, count: int) -> SearchAnswer:
    """The same answer among ``count`` architectures that the front beats: its own, a little worse each time."""
    search, rng = small.search, np.random.default_rng(0)
    frame = search.front.frame
    rows = frame.iloc[rng.integers(len(frame), size=count)].reset_index(drop=True)
    for name, sign in search.whole.setting.objectives.items():
        rows[name] = rows[name] * (1 + sign * rng.uniform(0.001, 0.3, count))
    whole: SearchResult = search.whole.with_frame(pd.concat([frame, rows], ignore_index=True))
    on_front = np.arange(len(whole)) < len(frame)
    return replace(small, search=Found(whole, on_front, search.best, search.refused, search.evaluator))


def page_of(small: SearchAnswer, path: Path) -> Path:
    """The report of an answer, written."""
    path.write_text(render(search_page(small, lambda result, row: [])), encoding="utf-8")
    return path


def hostile_page(name: str) -> str:
    """A page all of whose texts are ``name``."""
    drawn = figure(Bars(name, name, [name], {name: [1.0]}))
    drawn.add_bar(name=name, x=[name], y=[1.0], hovertext=[name])  # not even escaped
    table = Table("t", (name, name), ((name, name),), name, pins=(0,))
    picture = Picture("p", name, drawn, name)
    section = Section("s", name, (name,), (), (picture,), True, (table,), (Snippet("c", name, name),))
    points = Points((name,), (name,), ((name,),))
    return render(Page(name, name, (name,), (section,), ((name, name),), points, name))
