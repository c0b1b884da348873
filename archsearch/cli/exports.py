"""Recommended architectures as files: a Hugging Face config, an archsearch YAML, a pipeline's YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archsearch.cli.groups import option_name
from archsearch.cli.output import worded
from archsearch.errors import UnsupportedError, printable
from archsearch.search.answers.export import Export, export_of, pipeline_record
from archsearch.search.evaluate.result import SearchResult, as_result

if TYPE_CHECKING:
    import pandas as pd

    Table = SearchResult | pd.DataFrame


def class_fields(table: Table, rank: int) -> dict[str, str | None]:
    """``hf_class``: the class of transformers or diffusers that is the architecture of a row, None where none is;
    ``hf_difference``: what the nearest one would need."""
    from archsearch.models.huggingface import published_class

    try:
        published = published_class(export_of(table, rank).config)
    except UnsupportedError as error:
        return {"hf_class": None, "hf_difference": worded(error)}
    name, difference = published.name, published.difference
    return {"hf_class": None if difference else name, "hf_difference": difference or None}


def hf_documents(table: Table) -> dict[str, object] | list[dict[str, object]]:
    """The ``config.json`` of the one row; a list where more were asked for.

    Raises:
        UnsupportedError: no class is that architecture; the text says what the nearest would need, and what to do.
    """
    result = as_result(table)
    documents = [_hf(result, row) for row in range(1, len(result) + 1)]
    return documents[0] if len(documents) == 1 else documents


def _hf(result: SearchResult, row: int) -> dict[str, object]:
    from archsearch.models.huggingface import OURS, to_hf
    from archsearch.models.huggingface.script import has_module

    export = export_of(result, row)
    try:
        document = to_hf(export.config)
    except UnsupportedError as error:
        if not has_module(export.config):
            raise
        name, rank = result.setting.space, result.rank_of(row)
        raise UnsupportedError(
            f"rank {rank}: {error}. `archsearch build {name}:{rank}` writes the module in plain torch, --format yaml "
            "the config; to search that class itself, state what it needs in the space (fixed, derived)"
        ) from None
    if export.whole is not None:
        document[OURS] = {**document.get(OURS, {}), "pipeline": _pipeline_notes(export)}
    return document


def _pipeline_notes(export: Export) -> dict[str, object]:
    """What a file about a transformer tells of the pipeline that it was searched in."""
    assert export.whole is not None
    return {"name": export.whole.template.name, **export.sampling}


def yaml_text(table: Table) -> str:
    """Rows as archsearch YAML files, for ``archsearch estimate FILE``; documents of one stream where several."""
    import yaml

    result = as_result(table)
    texts = []
    for row in range(1, len(result) + 1):
        export = export_of(result, row)
        document = {"family": export.config.family, **export.config.to_dict()}
        body = yaml.safe_dump({k: _listed(v) for k, v in document.items() if v is not None}, sort_keys=False)
        texts.append(_commented(_comment(result, row, export)) + body)
    return "---\n".join(texts)


def pipeline_text(table: Table) -> str:
    """Rows as pipeline YAML files, for ``archsearch pipeline``.

    Raises:
        UnsupportedError: the space searches models alone.
    """
    import yaml

    result = as_result(table)
    setting = result.setting
    texts = []
    for row in range(1, len(result) + 1):
        title, _, *rest = _comment(result, row, export := export_of(result, row))
        sizes = f"--batch-size {setting.workload.batch_size}"
        ask = f"archsearch pipeline estimate FILE --hardware {setting.pool.ids[0]} {sizes}"
        rest = [f"chosen for: {ask} --execution {setting.execution.line()}", *rest]
        record = pipeline_record(export, f"{setting.space}-{result.rank_of(row)}", title)
        body = yaml.safe_dump(record.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
        texts.append(_commented(rest) + body)
    return "---\n".join(texts)


def _commented(lines: list[str]) -> str:
    """Lines of comment; a name that holds line ends ends none."""
    return "".join(f"# {printable(' '.join(line.split()))}\n" for line in lines)


def _comment(result: SearchResult, row: int, export: Export) -> list[str]:
    """What the file is, how a pipeline samples it, and the class that it differs from."""
    setting = result.setting
    lines = [f"rank {result.rank_of(row)} of {setting.space} on {', '.join(setting.pool.ids)}"]
    sizes = {
        "dtype": export.workload.dtype.value,
        "batch_size": export.workload.batch_size,
        **{name: getattr(export.workload, name) for name in ("seq_len", "height", "width", "frames")},
    }
    workload = " ".join(f"{option_name(n)} {v}" for n, v in sizes.items() if v is not None)
    ran = f"--phase {export.workload.phase.value} --execution {setting.execution.line()}"
    lines.append(f"chosen for: archsearch estimate FILE --hardware {setting.pool.ids[0]} {workload} {ran}")
    if export.whole is not None:
        sampling = ", ".join(f"{name} {value}" for name, value in export.sampling.items())
        lines[0] += f": the transformer of pipeline {export.whole.template.name}"
        lines.append(f"sampled with {sampling}: {export.calls} such calls a generation")
    difference = class_fields(result, row)["hf_difference"]
    if difference:
        lines.append(f"no published class is this architecture: {difference}")
    return lines


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
