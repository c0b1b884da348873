"""Diffusion and flow-matching transformers over latent patches."""
