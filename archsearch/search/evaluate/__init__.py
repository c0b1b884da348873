"""Architectures priced on a pool of GPUs, array-valued."""
