"""The project that pays for requests to buckets whose requesters pay."""

from __future__ import annotations

from typing import Any

_project: str | None = None


def bill_to(settings: dict[str, Any]) -> None:
    """From now on this process's requests are billed as a job's settings say; each step says so.

    A worker is another process than the launch, and only the steps themselves get there.
    """
    global _project
    _project = settings.get("billing_project")


def billed_project() -> str | None:
    """The project to name in each request; None: the bucket's owner pays."""
    return _project
