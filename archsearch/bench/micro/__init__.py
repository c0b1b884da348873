"""Measuring kernels on the device at hand. Imports nothing but the standard library, numpy, torch and triton.

``python -m archsearch.bench.micro --help`` runs it where archsearch's other needs are not installed.
"""
