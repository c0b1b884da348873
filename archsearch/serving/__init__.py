"""Serving a pipeline: traffic, queues, fleets of GPUs, tiers, cost and energy."""
