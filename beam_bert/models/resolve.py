"""Find a model by what the user calls it, pin its version, and bring it to a worker's disk.

A model is a folder in Hugging Face layout: config.json, *.safetensors, tokenizer files. It is asked
for as a local folder, a gs:// prefix, `store@alias` or `store@version` of a model store (local or
gs://), a Hugging Face id or the name of one in this package, and resolved once, at launch. The
version is a digest over the names and crc32c of its files, so the same files have the same version
wherever they lie.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from beam_bert.errors import ModelError, shown
from beam_bert.models.cache import cached_model
from beam_bert.models.digest import folder_checksums, model_digest
from beam_bert.models.store import ModelStore, split_reference
from beam_bert.settings.paths import path_fault
from beam_bert.storage.base import Wording, in_parallel
from beam_bert.storage.billing import bill_to, billed_project
from beam_bert.storage.model_files import MODEL_FILES, is_model_file, not_a_model_file, why_no_model
from beam_bert.storage.places import open_storage

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_MODEL = Wording(place="model", error=ModelError, again="run the same command again")


@dataclass(frozen=True)
class ResolvedModel:
    """A model that was found: what it was asked for as, where it lies, which version it is.

    `location` is a local folder, `gs://bucket/prefix`, `hf://id@revision` or `embedded:name`.
    `version` is the digest of its files, which shard keys carry; `store_version` its name in the
    model store that it came from, if it did. `billing_project` pays where a worker fetches it.
    """

    name: str
    location: str
    version: str
    store_version: str | None = None
    billing_project: str | None = field(default=None, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether only this machine has it."""
        return "://" not in self.location and not self.location.startswith("embedded:")

    @property
    def shown_version(self) -> str:
        """What a reader of the results finds it by: its name in its store, else the digest.

        An alias moves on, and a digest cannot be asked for: `store/banking@<this>` still can.
        """
        return self.store_version or self.version


def embedded_names() -> list[str]:
    """Names of the models that the package carries."""
    return sorted(path.parent.name for path in EMBEDDED_FOLDER.glob("*/config.json"))


def resolve_model(name: str) -> ResolvedModel:
    """Find the model that a user calls `name` and pin its version.

    Raises:
      ModelError: there is none, or its place may not be read.
      RunFailed: Cloud Storage does not answer.
    """
    if name in embedded_names():
        version = model_digest(folder_checksums(EMBEDDED_FOLDER / name))
        return ResolvedModel(name, f"embedded:{name}", version)
    check_name(name)
    reference = split_reference(name)
    if name.startswith("gs://"):
        # A prefix may have an @ in its name and still be no store.
        if reference is not None and ModelStore(reference[0]).exists():
            return _store_model(name, *reference)
        location = name if name.endswith("://") else name.rstrip("/")
        version = model_digest(_gcs_checksums(location))
        return ResolvedModel(name, location, version, billing_project=billed_project())
    folder = Path(name).expanduser()
    if folder.is_dir():
        if fault := path_fault(str(folder.resolve())):
            raise ModelError(f"model {shown(name)}: its folder {fault}")
        if not (folder / "config.json").exists() and (folder / "versions").is_dir():
            raise _names_no_version(name.rstrip("/"))
        return ResolvedModel(name, str(folder.resolve()), model_digest(folder_checksums(folder)))
    if reference is not None:
        return _store_model(name, *reference)
    revision, folder = _from_hub(name, None)
    return ResolvedModel(name, f"hf://{name}@{revision}", model_digest(folder_checksums(folder)))


def check_name(name: str) -> None:
    """Refuse what names no model anywhere; no model is read for it.

    Raises:
      ModelError: there is no such folder; a part of its path may not be read.
    """
    if fault := path_fault(name):
        raise ModelError(f"model {shown(name)}: {fault}; give a folder, gs:// prefix or name")
    if name in embedded_names() or name.startswith("gs://") or split_reference(name):
        return
    folder = Path(name).expanduser()
    if folder.is_dir():
        return
    if folder.exists():
        what = not_a_model_file(folder) or "is a file; give the folder that holds its config.json"
        raise ModelError(f"model {name} {what}")
    if _HUB_ID.fullmatch(name) is None:
        raise ModelError(f"model {name}: there is no such folder")


def fetch_model(model: ResolvedModel) -> Path:
    """The local folder of a resolved model, brought here first where it lies elsewhere.

    What is downloaded from gs:// is kept under its version, so that a worker does it once.

    Raises:
      ModelError: it is gone or may not be read, or is no longer the version that was resolved.
      RunFailed: Cloud Storage does not answer.
    """
    if model.location.startswith("embedded:"):
        folder = EMBEDDED_FOLDER / model.location.removeprefix("embedded:")
    elif model.location.startswith("hf://"):
        hub_id, _, revision = model.location.removeprefix("hf://").rpartition("@")
        _, folder = _from_hub(hub_id, revision)
    elif model.location.startswith("gs://"):
        bill_to(model.billing_project)  # no other step may have run in this worker
        return _from_gcs(model)
    else:
        folder = Path(model.location)
        if not folder.is_dir():
            raise ModelError(
                f"model folder {folder} is not on this worker; jobs on other machines need "
                "a model on gs://"
            )
    _check_version(model, folder)
    return folder


def _check_version(model: ResolvedModel, folder: Path) -> None:
    digest = model_digest(folder_checksums(folder))
    if digest != model.version:
        raise ModelError(
            f"model {model.name} changed while the job ran: version {digest} at {folder}, "
            f"{model.version} at launch; start the job again"
        )


def _store_model(name: str, location: str, reference: str) -> ResolvedModel:
    """The version that a store's alias or version name stands for, checked against its record."""
    store = ModelStore(location)
    record = store.resolve(reference)
    store.verify(record)
    folder = store.folder(record.version)
    if not folder.startswith("gs://"):
        folder = str(Path(folder).resolve())
    return ResolvedModel(name, folder, record.digest, record.version, billed_project())


def _gcs_checksums(location: str) -> dict[str, str]:
    """Name and crc32c of each file of a model on gs://.

    Raises:
      ModelError: there are none, or they may not be read.
      RunFailed: the bucket does not answer.
    """
    storage = open_storage(location, _MODEL)
    files = [file.name for file in storage.list_files("", recursive=False)]
    if why := why_no_model(files):
        raise ModelError(f"model {location} {why}")
    if "config.json" not in files:
        if "versions" in storage.list_folders(""):
            raise _names_no_version(location)
        reference = split_reference(location)
        no_store = f", nor a model store at {reference[0]}" if reference else ""
        raise ModelError(f"model {location}: there is no config.json under that prefix{no_store}")
    return storage.checksums("", [name for name in files if is_model_file(name)])


def _from_gcs(model: ResolvedModel) -> Path:
    def download(folder: Path) -> None:
        storage = open_storage(model.location, _MODEL)
        in_parallel(
            lambda name: storage.download(name, folder / name),
            _gcs_checksums(model.location),
            storage.parallelism,
        )
        _check_version(model, folder)

    # Versions of one store are of one place: the same files are not downloaded twice.
    place = model.location.split("/versions/")[0] if model.store_version else model.location
    return cached_model(model.version, download, place)


def _names_no_version(location: str) -> ModelError:
    aliases = ModelStore(location).aliases()
    shown = ", ".join(f"{location}@{alias}" for alias in aliases) or f"{location}@<version>"
    return ModelError(f"model {location} is a model store, say which version: {shown}")


def _from_hub(hub_id: str, revision: str | None) -> tuple[str, Path]:
    """The commit and local folder of a model of the Hugging Face hub (its cache is used first)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=[*(f"*{suffix}" for suffix in MODEL_FILES), "README.md"],
                ignore_patterns=["*/*"],
                etag_timeout=5,
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        known = ", ".join(embedded_names()) or "none"
        raise ModelError(
            f"model {hub_id}: no such folder here, no such model in the package (it has {known}) "
            f"and none from the Hugging Face hub ({type(error).__name__}); give a folder or a "
            "gs:// prefix"
        ) from None
    return folder.name, folder
