"""A setting as the command line, the YAML file and the documents show it."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field


def setting(group: str, description: str, *, output: bool = False, **kwargs: Any) -> Any:
    """A setting: its group in --help, its help text, and whether it changes the output."""
    extra: dict[str, Any] = {"group": group, "output": output}
    return Field(description=description, json_schema_extra=extra, **kwargs)


def is_fixed(config: type[BaseModel], name: str) -> bool:
    """Whether a job has that setting with one value alone, and so no flag for it."""
    annotation = config.model_fields[name].annotation
    return annotation is type(None) or (
        get_origin(annotation) is Literal and len(get_args(annotation)) == 1
    )


def field_group(config: type[BaseModel], name: str) -> str:
    """The group of --help that a setting stands in."""
    return str(_extra(config.model_fields[name])["group"])


def changes_output(field: Any) -> bool:
    """Whether a setting is part of every shard's key."""
    return bool(_extra(field)["output"])


def _extra(field: Any) -> dict[str, Any]:
    return field.json_schema_extra or {"group": "Other", "output": False}
