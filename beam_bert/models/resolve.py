"""Find a model by what the user calls it, pin its version, and bring it to a worker's disk.

A model is a folder in Hugging Face layout: config.json, *.safetensors, tokenizer files. It is asked
for as a local folder, a gs:// prefix, a Hugging Face id or the name of one in this package, and
resolved once, at launch. The version is a digest over the names and crc32c of its files, so the
same files have the same version wherever they lie.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from beam_bert.errors import ModelError

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
# What a model is made of; a model card or a training state beside it does not change its answers.
MODEL_FILES = (".json", ".safetensors", ".txt", ".model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class ResolvedModel:
    """A model that was found: what it was asked for as, where it lies, which version it is.

    `location` is a local folder, `gs://bucket/prefix`, `hf://id@revision` or `embedded:name`.
    """

    name: str
    location: str
    version: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine has it."""
        return "://" not in self.location and not self.location.startswith("embedded:")


def embedded_names() -> list[str]:
    """Names of the models that the package carries."""
    return sorted(path.parent.name for path in EMBEDDED_FOLDER.glob("*/config.json"))


def resolve_model(name: str) -> ResolvedModel:
    """Find the model that a user calls `name` and pin its version.

    Raises:
      ModelError: there is none, or the place that should hold it does not answer.
    """
    if name in embedded_names():
        version = _version(_local_checksums(EMBEDDED_FOLDER / name))
        return ResolvedModel(name, f"embedded:{name}", version)
    if name.startswith("gs://"):
        location = name.rstrip("/")
        checksums = {blob.name.rsplit("/", 1)[1]: blob.crc32c for blob in _blobs(location)}
        return ResolvedModel(name, location, _version(checksums))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return ResolvedModel(name, str(folder.resolve()), _version(_local_checksums(folder)))
    if folder.exists():
        raise ModelError(f"model {name} is a file; give the folder that holds its config.json")
    if _HUB_ID.fullmatch(name) is None:
        raise ModelError(f"model {name}: there is no such folder")
    revision, folder = _from_hub(name, None)
    return ResolvedModel(name, f"hf://{name}@{revision}", _version(_local_checksums(folder)))


def fetch_model(model: ResolvedModel) -> Path:
    """The local folder of a resolved model, brought here first where it lies elsewhere.

    What is downloaded from gs:// is kept under its version, so that a worker does it once.

    Raises:
      ModelError: it is gone or cannot be read, or is no longer the version that was resolved.
    """
    if model.location.startswith("embedded:"):
        folder = EMBEDDED_FOLDER / model.location.removeprefix("embedded:")
    elif model.location.startswith("hf://"):
        hub_id, _, revision = model.location.removeprefix("hf://").rpartition("@")
        _, folder = _from_hub(hub_id, revision)
    elif model.location.startswith("gs://"):
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
    found = _version(_local_checksums(folder))
    if found != model.version:
        raise ModelError(
            f"model {model.name} changed while the job ran: version {found} at {folder}, "
            f"{model.version} at launch; start the job again"
        )


def _version(checksums: dict[str, str]) -> str:
    """12 hex digits over the names and checksums of a model's files."""
    return hashlib.sha256(repr(sorted(checksums.items())).encode()).hexdigest()[:12]


def _local_checksums(folder: Path) -> dict[str, str]:
    """Name and base64 crc32c, as Google Cloud Storage shows it, of each file of a model."""
    import base64

    import google_crc32c

    checksums = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in MODEL_FILES and not path.name.startswith("."):
            checksum = google_crc32c.Checksum()
            try:
                with path.open("rb") as file:
                    for _ in checksum.consume(file, 2**20):
                        pass
            except OSError as error:
                raise ModelError(f"model file {path} cannot be read: {error.strerror}") from None
            checksums[path.name] = base64.b64encode(checksum.digest()).decode()
    return checksums


def cache_folder() -> Path:
    """Where downloaded models are kept: $BEAM_BERT_CACHE, else ~/.cache/beam_bert."""
    chosen = os.environ.get("BEAM_BERT_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "beam_bert"


def _blobs(location: str) -> list:
    """The objects of a model on gs://.

    Raises:
      ModelError: there are none, or the bucket does not answer.
    """
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    bucket, _, prefix = location.removeprefix("gs://").partition("/")
    try:
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            client = storage.Client.create_anonymous_client()
        else:
            client = storage.Client()
        found = list(
            client.list_blobs(bucket, prefix=f"{prefix}/" if prefix else "", delimiter="/")
        )
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise ModelError(
            f"model {location} cannot be read: {' '.join(str(error).split())}"
        ) from None
    model_files = [blob for blob in found if blob.name.endswith(MODEL_FILES)]
    if not any(blob.name.rsplit("/", 1)[-1] == "config.json" for blob in model_files):
        raise ModelError(f"model {location}: there is no config.json under that prefix")
    return model_files


def _from_gcs(model: ResolvedModel) -> Path:
    folder = cache_folder() / "models" / model.version
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{model.version}-"))
    try:
        for blob in _blobs(model.location):
            blob.download_to_filename(str(partial / blob.name.rsplit("/", 1)[1]), checksum="crc32c")
        _check_version(model, partial)
        # A second process may have finished first: its folder holds the same bytes.
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _from_hub(hub_id: str, revision: str | None) -> tuple[str, Path]:
    """The commit and local folder of a model of the Hugging Face hub (its cache is used first)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=[f"*{suffix}" for suffix in MODEL_FILES],
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
