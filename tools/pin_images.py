"""Put a digest behind each image that a build takes, in Dockerfile and cloudbuild.yaml.

    python -m tools.pin_images      # asks the images' registries; commit what it changes

A tag may be moved to other content, a digest may not. `make pins` runs this, and the build refuses
an image without one. Run it again after changing a tag.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "cloudbuild.yaml")
# What stands before an image, the image with its tag, and the digest that it may have already.
IMAGE = re.compile(
    r"^(ARG (?:BASE|BEAM_SDK|LAUNCHER)=| +name: | +_BASE: )"
    r"([\w.:/-]+:[\w.-]+?)(?:@sha256:[0-9a-f]{64})?$",
    re.MULTILINE,
)
_KINDS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_TIMEOUT_S = 30


def pinned(text: str, digest_of: Callable[[str], str]) -> str:
    """A file's text with the digest that each of its images has now."""
    return IMAGE.sub(lambda found: f"{found[1]}{found[2]}@{digest_of(found[2])}", text)


def digest_of(image: str) -> str:
    """What a registry says that a tag stands for, such as sha256:….

    Source: https://distribution.github.io/distribution/spec/api/ and its token authentication.

    Raises:
      OSError: the registry does not answer, or has no such image.
    """
    name, _, tag = image.rpartition(":")
    host, _, path = name.partition("/")
    if "." not in host and ":" not in host:  # Docker Hub's short names
        host, path = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    scheme = "http" if host.startswith("localhost:") else "https"
    url = f"{scheme}://{host}/v2/{path}/manifests/{tag}"
    try:
        return _ask(url, {})
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        told = dict(re.findall(r'(\w+)="([^"]*)"', error.headers.get("WWW-Authenticate", "")))
    query = urllib.parse.urlencode({k: v for k, v in told.items() if k in ("service", "scope")})
    with urllib.request.urlopen(f"{told['realm']}?{query}", timeout=_TIMEOUT_S) as answer:
        token = json.load(answer)["token"]
    return _ask(url, {"Authorization": f"Bearer {token}"})


def _ask(url: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(url, headers={"Accept": _KINDS, **headers}, method="HEAD")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def main() -> None:
    """Rewrite the files; all of them, or none."""
    texts = {ROOT / name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    known: dict[str, str] = {}

    def ask_once(image: str) -> str:
        if image not in known:
            try:
                known[image] = digest_of(image)
            except OSError as error:
                sys.exit(f"error: {image}: {error}; nothing was written")
            print(f"{image}@{known[image]}")
        return known[image]

    changed = {path: pinned(text, ask_once) for path, text in texts.items()}
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
