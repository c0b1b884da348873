"""Any ``torch.nn.Module`` as operations: traced on the meta device, without weights or a GPU."""

from archsearch.models.tracing.builder import is_builder, load_traced
from archsearch.models.tracing.traced import TracedModel, Unknown

__all__ = ["TracedModel", "Unknown", "is_builder", "load_traced"]
