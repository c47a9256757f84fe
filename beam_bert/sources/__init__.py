"""Sources: slices of files become documents, and what cannot be used becomes rejects."""

from beam_bert.slices import FileEntry
from beam_bert.sources.cutting import cut_unit
from beam_bert.sources.listing import list_files
from beam_bert.sources.reading import read_slice
from beam_bert.sources.resolving import inspect_source
from beam_bert.sources.spec import SourceSpec

__all__ = ["FileEntry", "SourceSpec", "cut_unit", "inspect_source", "list_files", "read_slice"]
