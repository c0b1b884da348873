"""What a report has to copy: configs for libraries, YAML for archsearch, commands that repeat the answer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from archsearch.cli.invocation import without_password
from archsearch.cli.output import worded
from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.report.web_page import Snippet

if TYPE_CHECKING:
    from archsearch.estimate_result import EstimateResult
    from archsearch.report.search_report import Files
    from archsearch.search.evaluate.result import SearchResult


def files_of(source: str, said: Sequence[str], storage: str | None) -> Files:
    """The texts to copy of recommended architectures; ``said`` are the options that named the GPUs."""
    stored = [] if storage is None else ["--storage", without_password(storage)]

    def files(result: SearchResult, row: int) -> list[Snippet]:
        rank = result.rank_of(row)
        recommend = ["archsearch", "recommend", source, *said, *stored, "--rank", str(rank)]
        explain = ["archsearch", "explain", f"{source}:{rank}", *said, *stored]
        commands = [[*recommend, "--format", "hf"], [*recommend, "--format", "yaml"], explain]
        shown = [("commands", "Commands", "\n".join(map(shlex.join, commands))), *_configs(result.take([row - 1]))]
        return [Snippet(f"{name}-{rank}", title, text) for name, title, text in shown]

    return files


def _configs(one: SearchResult) -> list[tuple[str, str, str]]:
    """One architecture as a Hugging Face config (or why it is none), an archsearch YAML and a pipeline."""
    from archsearch.cli.exports import hf_documents, pipeline_text, yaml_text

    found = []
    try:
        found.append(("hf", "Hugging Face config.json", json.dumps(hf_documents(one), indent=2)))
    except UnsupportedError as error:
        found.append(("hf", "No Hugging Face config", worded(error)))
    try:
        found.append(("yaml", "archsearch YAML", yaml_text(one)))
        if one.setting.pipeline is not None:
            found.append(("pipeline", "Pipeline YAML", pipeline_text(one)))
    except UnsupportedError as error:  # a module of the user's own
        found.append(("yaml", "No YAML", worded(error)))
    return found


def model_files(e: EstimateResult) -> list[Snippet]:
    """The texts to copy of a model: its YAML, and its Hugging Face config where it has one."""
    import yaml

    from archsearch.models.huggingface import to_hf
    from archsearch.models.registry.families import get_family

    if e.family == "traced":
        return []
    document = {name: list(v) if isinstance(v, tuple) else v for name, v in e.config.items() if v is not None}
    text = yaml.safe_dump({"family": e.family, **document}, sort_keys=False)
    found = [Snippet("yaml", "archsearch YAML", text)]
    try:
        config = to_hf(get_family(e.family).from_dict(e.config))
    except ArchSearchError as error:
        return [*found, Snippet("hf", "No Hugging Face config", worded(error))]
    return [*found, Snippet("hf", "Hugging Face config.json", json.dumps(config, indent=2))]
