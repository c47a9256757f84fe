"""A setting as the command line, the YAML file and the documents show it."""

from __future__ import annotations

import os
from copy import copy
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from beam_bert.errors import ConfigError, shown
from beam_bert.settings.naming import named
from beam_bert.settings.paths import path_fault


def setting(
    group: str,
    description: str,
    *,
    also: str | None = None,
    **kwargs: Any,
) -> Any:
    """A setting: how the command line, YAML and the documents show it.

    Args:
      group: of --help.
      description: its help text.
      also: another name for it that people try.
      kwargs: pydantic's.
    """
    extra: dict[str, Any] = {"group": group, "also": also}
    return Field(description=description, json_schema_extra=extra, **kwargs)


def same_setting(config: type[BaseModel], name: str, group: str | None = None) -> Any:
    """The setting of that name as another job has it, in a group of its own where one is given."""
    field = copy(config.model_fields[name])
    if group is not None:
        field.json_schema_extra = {**_extra(field), "group": group}
    return field


# Settings that name files or folders.
_PLACES = {
    *("input", "train", "dev", "unlabelled", "output", "work_folder", "store"),
    *("model", "compare", "base", "teacher", "data", "prices", "label_names", "audit_terms"),
}


class Settings(BaseModel):
    """What a person may say: checked once, never changed; one string will do for a list of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _as_lists(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: cls._as_list(name, value) for name, value in values.items()}

    @field_validator("*", mode="after")
    @classmethod
    def _check_texts(cls, value: Any, info: ValidationInfo) -> Any:
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                if info.field_name in (*_PLACES, "label_column") and not text.strip():
                    raise ValueError("is empty")
                fault = path_fault(text) if info.field_name in _PLACES else None
                if fault or "\0" in text:
                    raise ValueError(f"{shown(text)} {fault or 'has a NUL in it'}")
        return value

    @classmethod
    def _as_list(cls, name: str, value: Any) -> Any:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        field = cls.model_fields.get(name)
        if field is None:
            return value
        return (value,) if takes_list(field) and isinstance(value, str) else value


def kind_of(field: Any) -> Any:
    """The type of a setting, with `| None` taken off."""
    options = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    return options[0] if type(None) in get_args(field.annotation) else field.annotation


def takes_list(field: Any) -> bool:
    """Whether a setting has several values."""
    return get_origin(kind_of(field)) is tuple


def check_values(config: type[BaseModel], **values: Any) -> None:
    """Refuse values that the settings of those names would refuse.

    Raises:
      ConfigError: one of them is no such value; names it.
    """
    for name, value in values.items():
        field = config.model_fields[name]
        try:
            kind: Any = Annotated[field.annotation, field]
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            text = f"{message[:1].lower()}{message[1:]}"
            raise ConfigError(f"{named(name)}: {text}, got {shown(value)}") from None


def is_fixed(config: type[BaseModel], name: str) -> bool:
    """Whether a job has that setting with one value alone, and so no flag for it."""
    annotation = config.model_fields[name].annotation
    return annotation is type(None) or (
        get_origin(annotation) is Literal and len(get_args(annotation)) == 1
    )


def field_group(config: type[BaseModel], name: str) -> str:
    """The group of --help that a setting stands in; `GROUPS` may call it otherwise for a job."""
    group = str(_extra(config.model_fields[name])["group"])
    return getattr(config, "GROUPS", {}).get(group, group)


def is_rare(config: type[BaseModel], name: str) -> bool:
    """Whether --help leaves a setting out and --help_all shows it (`RARE` of the settings)."""
    return name in getattr(config, "RARE", ())


def other_name(field: Any) -> str | None:
    """Another name of a setting that people try, if there is one."""
    name: str | None = _extra(field).get("also")
    return name


def _extra(field: Any) -> dict[str, Any]:
    return field.json_schema_extra or {"group": "Other"}
