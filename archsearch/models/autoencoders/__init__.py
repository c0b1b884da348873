"""Autoencoders of images and videos: pixels to latents and back."""
