"""`open_storage`: which storage a place is kept in."""

from __future__ import annotations

from pathlib import Path

from beam_bert.errors import shown
from beam_bert.settings.paths import path_fault
from beam_bert.storage.base import OUTPUT, Storage, Wording
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.paths import without_scheme


def open_storage(place: str, wording: Wording = OUTPUT) -> Storage:
    """The storage of a place: a local folder (`~` and file:// too) or `gs://bucket/prefix`.

    Raises:
      UserError: the wording's: another scheme than gs://, or no credentials for it.
    """
    if place.startswith("gs://"):
        from beam_bert.storage.gcs import open_gcs_storage  # local runs do without google.cloud

        return open_gcs_storage(place, wording)
    local = without_scheme(place)
    if "://" in local:
        raise wording.error(f"{wording.name}={place}: only local folders and gs:// can be written")
    if fault := path_fault(local):
        raise wording.error(
            f"{wording.name} {shown(place)}: {fault}; give a folder or gs:// prefix"
        )
    return LocalStorage(Path(local).expanduser(), wording)
