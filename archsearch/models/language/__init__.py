"""Models over token sequences: encoders, text encoders, decoders."""
