"""archsearch: design transformers for the GPU they will run on.

>>> import archsearch
>>> result = archsearch.estimate("llama-3-8b", "h100-sxm", seq_len=2048)
>>> result.parameters, result.fits, result.latency_low_s < result.latency_s < result.latency_high_s
(8030261248, True, True)
>>> best = archsearch.recommend("gpt2-shape", "a10", top=2, progress=False)
>>> best["rank"].tolist()
[1, 2]

What ``__all__`` lists is public, and docs/api.md describes it. Everything else is private, whatever its name. A name is
imported when it is first asked for, so that ``import archsearch`` and the command line start quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archsearch.api import (
        enumerate_space,
        estimate,
        explain,
        recommend,
        resume_study,
        run_study,
    )
    from archsearch.cost.execution import Execution, ExecutionFields
    from archsearch.cost.model import CostModel
    from archsearch.differences import Difference, diff
    from archsearch.dtypes import DType
    from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
    from archsearch.estimate_result import EstimateFields, EstimateResult
    from archsearch.hardware.database import list_gpus, load_gpu
    from archsearch.hardware.pool import GpuPool
    from archsearch.hardware.spec import GpuSpec
    from archsearch.models.base import ModelConfig
    from archsearch.models.huggingface import from_hf, to_hf
    from archsearch.models.registry.families import get_family, register_family
    from archsearch.models.registry.families import preset_names as list_models
    from archsearch.models.registry.load import load_model
    from archsearch.pipeline.catalog import list_pipelines, load_pipeline
    from archsearch.pipeline.generation_cost import PipelineEstimate, estimate_pipeline
    from archsearch.pipeline.levers import apply as pull_levers
    from archsearch.pipeline.make_plan import make_plan
    from archsearch.pipeline.optimize import Goal, Optimum
    from archsearch.pipeline.optimize import optimize as optimize_pipeline
    from archsearch.pipeline.plan import Plan
    from archsearch.plotting.front import plot_front
    from archsearch.quality.proxy import Quality, QualityProxy, get_proxy, list_proxies, register_proxy
    from archsearch.search.answers.explain import Explanation
    from archsearch.search.evaluate.frames import config_of
    from archsearch.search.evaluate.result import SearchResult
    from archsearch.search.explore.fidelity import Fidelity
    from archsearch.search.space.space import list_spaces
    from archsearch.search.studies.storage import load_study
    from archsearch.serving.fleet import FleetPlan, plan_fleet
    from archsearch.serving.units import Replica, ServiceLevel
    from archsearch.serving.units import replica as make_replica
    from archsearch.study_view import Study
    from archsearch.workload import Phase, Workload, WorkloadFields

    __version__: str

_PLACES = {
    "ArchSearchError": "errors",
    "CostModel": "cost.model",
    "DType": "dtypes",
    "Difference": "differences",
    "EstimateFields": "estimate_result",
    "EstimateResult": "estimate_result",
    "Execution": "cost.execution",
    "ExecutionFields": "cost.execution",
    "Explanation": "search.answers.explain",
    "Fidelity": "search.explore.fidelity",
    "FleetPlan": "serving.fleet",
    "Goal": "pipeline.optimize",
    "GpuPool": "hardware.pool",
    "GpuSpec": "hardware.spec",
    "InvalidInputError": "errors",
    "ModelConfig": "models.base",
    "Optimum": "pipeline.optimize",
    "Phase": "workload",
    "PipelineEstimate": "pipeline.generation_cost",
    "Plan": "pipeline.plan",
    "Quality": "quality.proxy",
    "QualityProxy": "quality.proxy",
    "Replica": "serving.units",
    "SearchResult": "search.evaluate.result",
    "ServiceLevel": "serving.units",
    "Study": "study_view",
    "UnknownNameError": "errors",
    "UnsupportedError": "errors",
    "Workload": "workload",
    "WorkloadFields": "workload",
    "config_of": "search.evaluate.frames",
    "diff": "differences",
    "enumerate_space": "api",
    "estimate": "api",
    "estimate_pipeline": "pipeline.generation_cost",
    "explain": "api",
    "from_hf": "models.huggingface",
    "get_family": "models.registry.families",
    "get_proxy": "quality.proxy",
    "list_gpus": "hardware.database",
    "list_models": "models.registry.families:preset_names",
    "list_pipelines": "pipeline.catalog",
    "list_proxies": "quality.proxy",
    "list_spaces": "search.space.space",
    "load_gpu": "hardware.database",
    "load_model": "models.registry.load",
    "load_pipeline": "pipeline.catalog",
    "load_study": "search.studies.storage",
    "make_plan": "pipeline.make_plan",
    "make_replica": "serving.units:replica",
    "optimize_pipeline": "pipeline.optimize:optimize",
    "plan_fleet": "serving.fleet",
    "plot_front": "plotting.front",
    "pull_levers": "pipeline.levers:apply",
    "recommend": "api",
    "register_family": "models.registry.families",
    "register_proxy": "quality.proxy",
    "resume_study": "api",
    "run_study": "api",
    "to_hf": "models.huggingface",
}
"""Where each public name is, from ``archsearch`` on; ``module:name`` where it has another name there."""

_PACKAGES = ("plotting", "testing")
"""Public packages, imported when they are first asked for."""

__all__ = [
    "ArchSearchError",
    "CostModel",
    "DType",
    "Difference",
    "EstimateFields",
    "EstimateResult",
    "Execution",
    "ExecutionFields",
    "Explanation",
    "Fidelity",
    "FleetPlan",
    "Goal",
    "GpuPool",
    "GpuSpec",
    "InvalidInputError",
    "ModelConfig",
    "Optimum",
    "Phase",
    "PipelineEstimate",
    "Plan",
    "Quality",
    "QualityProxy",
    "Replica",
    "SearchResult",
    "ServiceLevel",
    "Study",
    "UnknownNameError",
    "UnsupportedError",
    "Workload",
    "WorkloadFields",
    "__version__",
    "config_of",
    "diff",
    "enumerate_space",
    "estimate",
    "estimate_pipeline",
    "explain",
    "from_hf",
    "get_family",
    "get_proxy",
    "list_gpus",
    "list_models",
    "list_pipelines",
    "list_proxies",
    "list_spaces",
    "load_gpu",
    "load_model",
    "load_pipeline",
    "load_study",
    "make_plan",
    "make_replica",
    "optimize_pipeline",
    "plan_fleet",
    "plot_front",
    "pull_levers",
    "recommend",
    "register_family",
    "register_proxy",
    "resume_study",
    "run_study",
    "to_hf",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from archsearch.version import version

        return version()
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = _PLACES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), there or name)


def __dir__() -> list[str]:
    return sorted(__all__)
