"""Classes of transformers and diffusers, one module a family: how their configs read, and what one call takes."""
