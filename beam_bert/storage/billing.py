"""The project that pays for requests to buckets whose requesters pay."""

from __future__ import annotations

_project: str | None = None


def bill_to(project: str | None) -> None:
    """From now on this process's requests are billed so; each command and each step says it.

    A worker is another process than the launch, and only the steps themselves get there.

    Args:
      project: `--billing_project`; None: the bucket's owner pays.
    """
    global _project
    _project = project


def billed_project() -> str | None:
    """The project to name in each request; None: the bucket's owner pays."""
    return _project
