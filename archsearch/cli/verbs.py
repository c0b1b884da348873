"""The verbs: where each stands, and what the root's help says of it.

A call imports the module of its own verb and no other, and ``archsearch --help`` none: that halves what it takes to
start. ``tests/test_cli_start.py`` holds the texts against the modules' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

import typer

GROUP = "app"
"""The attribute of a module that holds a group of verbs."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb, or a group of them: ``attribute`` of ``archsearch.cli.MODULE``; ``text`` is what ``--help`` lists."""

    name: str
    module: str
    attribute: str
    text: str

    def attach(self, app: typer.Typer) -> None:
        """Make it a verb of ``app``, with its options; imports its module."""
        held = getattr(import_module(f"archsearch.cli.{self.module}"), self.attribute)
        if self.attribute == GROUP:
            app.add_typer(cast("typer.Typer", held), name=self.name)
        else:
            app.command(self.name)(held)

    def list_in(self, app: typer.Typer) -> None:
        """Make it a line of the help of ``app`` alone."""
        if self.attribute == GROUP:
            app.add_typer(typer.Typer(help=self.text), name=self.name)
        else:
            app.command(self.name, help=self.text)(_nothing)


def _nothing() -> None:
    """What a verb that is only listed does."""


VERBS = (
    Verb(
        "estimate",
        "estimate",
        "estimate",
        "Estimate a model's latency, throughput and memory on a GPU, and show where the time goes.",
    ),
    Verb(
        "enumerate",
        "enumerate_space",
        "enumerate_space",
        "Evaluate every architecture of a space and keep the exact Pareto front.",
    ),
    Verb("build", "build", "build", "Write a small torch script that builds an architecture's module and calls it."),
    Verb(
        "diff",
        "diff",
        "diff",
        "Compare two answers: the fields of model, workload and execution that differ, and the seconds of each.",
    ),
    Verb(
        "recommend",
        "recommend",
        "recommend",
        "Recommend the best architectures of a study or space, with the reasons.",
    ),
    Verb(
        "explain",
        "explain",
        "explain",
        "Explain an architecture on a GPU. A study's architecture is explained in the study's terms and workload.",
    ),
    Verb(
        "report",
        "report",
        "report",
        "Write a report: pictures to click, tables to filter, reasons, configs to copy; one file for any browser.",
    ),
    Verb(
        "validate",
        "validate",
        "validate",
        "Compare predictions with measured latencies (which predictions do not read).",
    ),
    Verb(
        "quality",
        "quality",
        "quality",
        "Predict the quality of a model, or of every row of a CSV whose columns are config fields.",
    ),
    Verb("ui", "ui", "ui", "Turn a model's dimensions in the browser and see what it costs."),
    Verb("doctor", "doctor", "doctor", "Show what is installed, this machine's GPUs, where data lies, and what is missing with how to get it."),
    Verb("hardware", "hardware", GROUP, "GPUs that archsearch knows."),
    Verb("models", "models", GROUP, "Model presets."),
    Verb("spaces", "spaces", GROUP, "Search spaces."),
    Verb("study", "study", GROUP, "Stored search studies."),
    Verb("bench", "bench", GROUP, "Measure this device, calibrate on measurements, verify recommendations."),
    Verb(
        "pipeline",
        "pipeline",
        GROUP,
        "Whole image and video pipelines: latency, memory, cost, and what makes them faster.",
    ),
    Verb("serve", "serve", GROUP, "Fleets of GPUs for a traffic: how many, how fast, at what price."),
)
"""In the order of ``--help``, which has groups last."""
