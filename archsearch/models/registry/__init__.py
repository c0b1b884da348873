"""Families, presets and models by name: the room above the families, which know nothing of it."""
