"""Recommended architectures built, timed and compared with what was predicted."""
