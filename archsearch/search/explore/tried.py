"""What tries an architecture for real: a timer, a trainer, and what a trainer reports to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archsearch.models.base import ModelConfig
from archsearch.workload import Workload

Timer = Callable[[ModelConfig, Workload], float]
"""Seconds of one run of a workload on the device at hand."""
Report = Callable[[int, float], None]
"""Told (step, loss so far) during training; ends the run where the pruner has given it up."""
Trainer = Callable[[Mapping[str, Any], Report], float]
"""From a config's fields to the loss of a short run."""
