"""Models: where they live, which version they are, and how a worker gets hold of one."""

from beam_bert.models.resolve import ResolvedModel, fetch_model, resolve_model
from beam_bert.models.store import ModelStore

__all__ = ["ModelStore", "ResolvedModel", "fetch_model", "resolve_model"]
