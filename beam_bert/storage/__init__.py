"""Files in a place that a person named: a local folder or a gs:// prefix, with one set of rules."""

from beam_bert.storage.base import (
    INPUT,
    OUTPUT,
    Storage,
    StoredFile,
    Wording,
    crc32c_base64,
    crc32c_text,
    in_parallel,
    is_safe_path,
    wrong_bytes,
)
from beam_bert.storage.durable import make_folder, move, sync_file, sync_folder, sync_names
from beam_bert.storage.model_files import (
    MODEL_FILES,
    PICKLES,
    is_model_file,
    not_a_model_file,
    why_no_model,
)
from beam_bert.storage.places import open_storage
from beam_bert.storage.reach import require_gs
from beam_bert.storage.regular_files import open_regular, read_json, read_regular

__all__ = [
    "INPUT",
    "MODEL_FILES",
    "OUTPUT",
    "PICKLES",
    "Storage",
    "StoredFile",
    "Wording",
    "crc32c_base64",
    "crc32c_text",
    "in_parallel",
    "is_model_file",
    "is_safe_path",
    "make_folder",
    "move",
    "not_a_model_file",
    "open_regular",
    "open_storage",
    "read_json",
    "read_regular",
    "require_gs",
    "sync_file",
    "sync_folder",
    "sync_names",
    "why_no_model",
    "wrong_bytes",
]
