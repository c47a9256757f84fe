"""The README as a package index shows it: nothing stands beside it that a link could lead to."""

from __future__ import annotations

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


def without_relative_links(text: str) -> str:
    """Markdown with the words of its relative links alone, and without its pictures' lines."""
    text = re.sub(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\((?!https?://|#)[^)]*\)", r"\1", text)


class ReadmeHook(MetadataHookInterface):
    """Puts that README into the package's metadata."""

    def update(self, metadata: dict) -> None:
        """Set the long description."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        readme = {"content-type": "text/markdown", "text": without_relative_links(text)}
        metadata["readme"] = readme
