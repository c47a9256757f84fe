"""What a model store writes beside its models: a record a version, a record a move of its aliases.

Both are small JSON files that are created whole, once, and never changed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from beam_bert.errors import ModelError
from beam_bert.models.digest import model_digest
from beam_bert.storage.base import Storage, is_safe_path
from beam_bert.storage.model_files import is_model_file

_VERSION = r"^[0-9]{8}T[0-9]{6}-[0-9a-f]{6}$"
_ALIAS = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"


def is_version(name: str) -> bool:
    """Whether `name` is shaped as a version's: 20261123T020000-ab12cd."""
    return re.fullmatch(_VERSION, name) is not None


def is_alias(name: str) -> bool:
    """Whether an alias may have this name: a letter, then up to 63 of letters, digits and _ . -"""
    return re.fullmatch(_ALIAS, name) is not None


def _checked_path(path: str) -> str:
    if not is_safe_path(path):
        raise ValueError(f"{path!r} is not a relative path below the model's folder")
    return path


VersionName = Annotated[str, Field(pattern=_VERSION)]
AliasName = Annotated[str, Field(pattern=_ALIAS)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1

    def to_json(self) -> bytes:
        """The bytes of the file."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class PublishedFile(BaseModel):
    """A file of a version: its path in the version's folder, its bytes, their base64 crc32c."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_checked_path)]
    size: int = Field(ge=0)
    crc32c: str


class VersionRecord(_Record):
    """A published version of a model: `versions/<version>.json` of a store.

    Attributes:
      created_at: when it was published, UTC.
      files: every file of it, by path.
      parent: the version that it was trained from, if any.
      metrics: what its evaluation said, by name.
      notes: for people.
      trained_on: digest of the rows and settings that it was trained with, if it was made so.
    """

    version: VersionName
    created_at: datetime
    files: tuple[PublishedFile, ...]
    parent: VersionName | None = None
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    notes: str = ""
    trained_on: str | None = None

    @property
    def digest(self) -> str:
        """The digest of the model's files (`beam_bert.models.digest`), which shard keys carry."""
        return model_digest({f.path: f.crc32c for f in self.files if is_model_file(f.path)})

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


Action = Literal["promote", "rollback", "set_alias", "note"]


class AliasMove(_Record):
    """One move of a store's aliases: `aliases/<number>.json`; the highest number is what holds.

    A note moves none, and is there for its reason.

    Attributes:
      number: 1, 2, 3, … without gaps.
      id: tells this attempt from any other that wanted the same number.
      at: when, UTC.
      by: user@host.
      action: what was called.
      reason: why, in the words of who called.
      aliases: where every alias points after the move.
    """

    number: int = Field(ge=1)
    id: str
    at: datetime
    by: str
    action: Action
    reason: str
    aliases: dict[AliasName, VersionName]


Record = TypeVar("Record", VersionRecord, AliasMove)


def create_record(storage: Storage, path: str, record: VersionRecord | AliasMove) -> bool:
    """Write a record that must not exist yet; False: somebody else's stands there."""
    data = record.to_json()
    # A request whose answer was lost is sent again, and then finds what it wrote itself.
    return storage.create(path, data) or storage.read(path) == data


def parse_record(storage: Storage, path: str, kind: type[Record]) -> Record | None:
    """Read a record; None where there is none.

    Raises:
      ModelError: it is damaged.
    """
    data = storage.read(path)
    if data is None:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        why = error.errors()[0]["msg"][:200]
        raise ModelError(f"{storage.uri(path)} is damaged ({why}); bring it back") from None
