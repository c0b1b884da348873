"""Spaces of architectures, their fronts, studies of them, and what to take from them."""
