"""The Dataflow flex templates of the inference jobs, made from the settings' own models.

    python -m beam_bert.jobs.flex_template                 classify's metadata.json: all parameters
    python -m beam_bert.jobs.flex_template --task answer   another job's: sentiment, answer
    python -m beam_bert.jobs.flex_template --image IMAGE   the whole template file for Dataflow

One image serves them all; the parameter `task` tells its launcher which job to start.

A flex template knows strings only. A list is given with commas between its items; a comma or
backslash inside an item gets a backslash before it, and `[]` is the list without items. `to_flags`
turns that back into the flags of the command line.

The format is that of `google.cloud.dataflow_v1beta3.ContainerSpec` and `TemplateMetadata`; see
https://docs.cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from beam_bert.errors import ConfigError
from beam_bert.settings.answer import JOBS
from beam_bert.settings.fields import field_group, is_fixed, kind_of, takes_list
from beam_bert.settings.inference import ClassifyConfig

DEFAULT_TASK = "classify"

NO_ITEMS = "[]"
# Whether the service anchors these is not documented, so each does.
_ITEM = r"([^,\\]|\\[,\\])+"
_LIST = rf"^(\[\]|{_ITEM}(,{_ITEM})*)$"
_GCS_ITEM = r"gs://[a-z0-9]([^,\\]|\\[,\\])*"
_PATTERNS: dict[type, str] = {int: "[0-9]+", float: "[0-9.]+([eE][+-]?[0-9]+)?"}
# A template's workers share no disk with whoever launches it, so these are narrower than the flags.
_NARROWER: dict[str, dict[str, Any]] = {
    "input": {"regexes": [rf"^{_GCS_ITEM}(,{_GCS_ITEM})*$"]},
    "output": {"paramType": "GCS_WRITE_FOLDER", "regexes": [r"^gs://[a-z0-9][^\n]*$"]},
}
# fp8 is compared with fp32 where the job is started, on a GPU, which a launcher has not.
_NOT_BY_TEMPLATE = {"precision": ("fp8",)}
# One flag of Beam's: the workers' image. The launch environment has a field for it too, but
# Google's own samples give it as a parameter, and without it workers would not have this package.
_IMAGE_PARAMETER = {
    "name": "sdk_container_image",
    "label": "Image of the workers",
    "helpText": "The image of this template, so that launcher and workers have the same software.",
    "isOptional": True,
    "paramType": "TEXT",
    "groupName": "Work",
    "regexes": [r"^[a-z0-9.-]+/[^\s]+$"],
}
_DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")


def metadata(task: str = DEFAULT_TASK) -> dict[str, Any]:
    """A template's metadata: a parameter for each setting of the job, its name, and the image."""
    config = JOBS[task]
    # Which job the image starts. Whether the service fills defaults in is not documented.
    task_parameter = {
        "name": "task",
        "label": "Task",
        "helpText": f"The job that this template is for: {task}.",
        "isOptional": task == DEFAULT_TASK,
        "paramType": "ENUM",
        "groupName": "Work",
        "enumOptions": [{"value": task, "label": task}],
        "defaultValue": task,
    }
    return {
        "name": f"beam_bert {task}",
        "description": " ".join((config.__doc__ or "").split()),
        "parameters": [
            *(_parameter(config, n) for n in config.model_fields if not is_fixed(config, n)),
            task_parameter,
            _IMAGE_PARAMETER,
        ],
    }


def container_spec(image: str, task: str = DEFAULT_TASK) -> dict[str, Any]:
    """The template file of a job that points to `image`.

    Args:
      image: the image that both launches and works, by digest: a tag could be moved under a
        template that was tested.
      task: one of JOBS.

    Raises:
      ConfigError: the image is not given by its digest.
    """
    if _DIGEST.fullmatch(image) is None:
        raise ConfigError(
            f"--image {image}: give the image by its digest, NAME@sha256:…, as `docker push` or "
            "`gcloud artifacts docker images describe` prints it"
        )
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata(task),
        "defaultEnvironment": {"sdkContainerImage": image},
    }


def task_of(parameters: Sequence[str]) -> tuple[str, list[str]]:
    """The job that the launcher's arguments ask for, and the others of them.

    Raises:
      ConfigError: there is no such job.
    """
    given = [parameter for parameter in parameters if parameter.startswith("--task=")]
    task = given[-1].partition("=")[2] if given else DEFAULT_TASK
    if task not in JOBS:
        raise ConfigError(f"task {task!r}: it is one of {', '.join(JOBS)}")
    return task, [parameter for parameter in parameters if parameter not in given]


def to_flags(parameters: Sequence[str], config: type[BaseModel] = ClassifyConfig) -> list[str]:
    """The launcher's `--name=text` arguments as flags of the command line: lists are taken apart.

    >>> to_flags(["--input=gs://b/a,gs://b/c", "--top_k=3", "--keep_columns=[]"])
    ['--input=gs://b/a', '--input=gs://b/c', '--top_k=3', '--keep_columns']

    Each item is bound to its own flag, so an item that begins with `--` stays a value.
    """
    flags: list[str] = []
    for parameter in parameters:
        name, equals, text = parameter.removeprefix("--").partition("=")
        field = config.model_fields.get(name)
        if equals and field is not None and takes_list(field):
            flags += [f"--{name}={item}" for item in split_list(text)] or [f"--{name}"]
        else:
            flags.append(parameter)
    return flags


def split_list(text: str) -> list[str]:
    r"""Take a list parameter apart: `a,b\,c` is `a` and `b,c`; `[]` and nothing are no items."""
    if text in ("", NO_ITEMS):
        return []
    items = [""]
    for token in re.findall(r"\\[,\\]|.", text, re.DOTALL):
        if token == ",":
            items.append("")
        else:
            items[-1] += token[-1]
    return items


def join_list(items: Sequence[str]) -> str:
    """The parameter that `split_list` takes apart into `items`."""
    return ",".join(re.sub(r"([,\\])", r"\\\1", item) for item in items) or NO_ITEMS


def main(argv: Sequence[str] | None = None) -> int:
    """Print the metadata, or with --image the template file; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_bert.jobs.flex_template", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--image", help="Image of the template, by digest: print the whole file.")
    parser.add_argument("--task", choices=JOBS, default=DEFAULT_TASK, help="Which job's.")
    given = parser.parse_args(argv)
    try:
        document = container_spec(given.image, given.task) if given.image else metadata(given.task)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def _parameter(config: type[BaseModel], name: str) -> dict[str, Any]:
    field = config.model_fields[name]
    kind = kind_of(field)
    help_text = field.description or ""
    parameter: dict[str, Any] = {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "helpText": help_text,
        "isOptional": not field.is_required(),
        "paramType": "TEXT",
        "groupName": field_group(config, name),
    }
    if takes_list(field):
        parameter["helpText"] += f" Commas between items; {NO_ITEMS} for none; \\, is a comma."
        parameter["regexes"] = [_LIST]
    elif kind is bool:
        parameter["paramType"] = "BOOLEAN"
    elif kind in _PATTERNS:
        may_be_negative = not any(hasattr(limit, "ge") for limit in field.metadata)
        parameter["paramType"] = "NUMBER"
        parameter["regexes"] = [f"^{'-?' if may_be_negative else ''}{_PATTERNS[kind]}$"]
    elif typing.get_origin(kind) is typing.Literal:
        parameter["paramType"] = "ENUM"
        left_out = _NOT_BY_TEMPLATE.get(name, ())
        options = [str(option) for option in typing.get_args(kind) if option not in left_out]
        parameter["enumOptions"] = [{"value": option, "label": option} for option in options]
        if left_out:
            parameter["helpText"] += f" Not here: {', '.join(left_out)}, whose proof takes a GPU."
    if field.default not in (None, "", ()) and not field.is_required():
        parameter["defaultValue"] = _text(field.default)
    return parameter | _NARROWER.get(name, {})


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return join_list(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
