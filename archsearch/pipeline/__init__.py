"""Whole generation pipelines: text encoders, a transformer in every denoising step, a decoder."""

from archsearch.pipeline.catalog import GenerationPipeline, list_pipelines, load_pipeline
from archsearch.pipeline.generation_cost import PipelineEstimate, cheapest_fit, estimate_pipeline
from archsearch.pipeline.pipeline_record import Guidance, PipelineRecord
from archsearch.pipeline.request import Deployment, Placement, Request, make_request

__all__ = [
    "Deployment",
    "GenerationPipeline",
    "Guidance",
    "PipelineEstimate",
    "PipelineRecord",
    "Placement",
    "Request",
    "cheapest_fit",
    "estimate_pipeline",
    "list_pipelines",
    "load_pipeline",
    "make_request",
]
