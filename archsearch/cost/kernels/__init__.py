"""Kernel models, one a file: from countable things (tiles, waves, bytes, instructions) to seconds."""
