"""The page about a night: `night.html` beside the evaluation's report.

Made of what stands in the store's history and in the manifests; nothing is kept for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from beam_bert.errors import BeamBertError
from beam_bert.models import ModelStore
from beam_bert.reports.figures import MissingExtra
from beam_bert.reports.pages import REPORT, render_night
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.sinks.manifest import Failure, Manifest, read_failure, read_manifest
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage

PAGE = "night.html"
SHOWN_RUNS, SHOWN_MOVES = 14, 20


def write_page(config: NightlyConfig, night: Mapping[str, Any]) -> str | None:
    """Write the page of a night that did something, or has none yet.

    Args:
      config: of this night (`NightlyConfig.on`).
      night: the fields of the JSON line that ends it.

    Returns:
      Where it is; None where the extra [report] is not installed.
    """
    storage = open_storage(str(config.output))
    if night["status"] == "nothing_to_do" and storage.size(PAGE) is not None:
        return storage.uri(PAGE)
    output = config.classify.output
    try:
        page = render_night(
            night,
            store=config.store,
            links=_links(config, night, storage),
            moves=ModelStore(config.store).history()[::-1][:SHOWN_MOVES],
            runs=_last_runs(output),
        )
    except MissingExtra:
        return None
    storage.write(PAGE, page.encode())
    return storage.uri(PAGE)


def evaluation_report(config: NightlyConfig) -> str | None:
    """Where the report of this night's evaluation is, if there is one."""
    storage = open_storage(str(config.output))
    return storage.uri(REPORT) if storage.size(REPORT) is not None else None


def _links(
    config: NightlyConfig, night: Mapping[str, Any], storage: Storage
) -> list[tuple[str, str]]:
    """Pages to go on to, relative to this one, so that they can be moved or copied together."""
    links = [("evaluation", REPORT)] if storage.size(REPORT) is not None else []
    if night["manifest"]:
        folder = night["manifest"].rpartition("/")[0]
        here, there = str(config.output), f"{folder}/{REPORT}"
        links.append(("run", os.path.relpath(there, here)))  # gs://b/x is as good a path for it
        links.append(("manifest", os.path.relpath(night["manifest"], here)))
    return links


def _last_runs(output: str) -> list[Manifest | Failure]:
    storage = open_storage(output)
    found: list[Manifest | Failure] = []
    for name in sorted(storage.list_folders("runs"))[-SHOWN_RUNS:]:
        try:
            run = read_manifest(output, name) or read_failure(output, name)
        except BeamBertError:  # of another version: what else is known is shown
            continue
        if run is not None:
            found.append(run)
    return found
