"""Whole generation pipelines: text encoders, a transformer in every denoising step, a decoder."""

from archsearch.pipeline.catalog import GenerationPipeline, list_pipelines, load_pipeline
from archsearch.pipeline.estimate import PipelineEstimate, cheapest_fit, estimate_pipeline
from archsearch.pipeline.records import Guidance, PipelineRecord
from archsearch.pipeline.request import Placement, Request, Run, make_request

__all__ = [
    "GenerationPipeline",
    "Guidance",
    "PipelineEstimate",
    "PipelineRecord",
    "Placement",
    "Request",
    "Run",
    "cheapest_fit",
    "estimate_pipeline",
    "list_pipelines",
    "load_pipeline",
    "make_request",
]
