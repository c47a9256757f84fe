"""Files in a place that a person named: a local folder or a gs:// prefix, with one set of rules."""

from beam_bert.storage.base import (
    OUTPUT,
    Storage,
    StoredFile,
    Wording,
    crc32c_base64,
    in_parallel,
    open_storage,
)
from beam_bert.storage.reach import require_gs

__all__ = [
    "OUTPUT",
    "Storage",
    "StoredFile",
    "Wording",
    "crc32c_base64",
    "in_parallel",
    "open_storage",
    "require_gs",
]
