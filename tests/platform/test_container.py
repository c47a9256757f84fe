"""Dockerfile, .dockerignore and cloudbuild.yaml: what would break a build, or a job, far away."""

from __future__ import annotations

import hashlib
import http.server
import importlib.metadata
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.platform.terraform_files import ROOT
from tools.pin_images import digest_of, pinned

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
BUILD_TEXT = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
BUILD = yaml.safe_load(BUILD_TEXT)


def default(argument: str) -> str:
    found = re.search(rf"^ARG {argument}=(\S+)$", INSTRUCTIONS, re.MULTILINE)
    assert found, argument
    return found[1]


def stages() -> dict[str, str]:
    parts = re.split(r"^FROM ", INSTRUCTIONS, flags=re.MULTILINE)[1:]
    return {part.split("\n")[0].split(" AS ")[1].strip(): part for part in parts}


def test_beam_is_the_version_that_the_tests_ran_with() -> None:
    assert f"_sdk:{importlib.metadata.version('apache-beam')}" in default("BEAM_SDK")


def test_python_is_the_same_in_every_image() -> None:
    versions = set(re.findall(r"python(\d\.\d+)", INSTRUCTIONS))
    versions |= {f"3.{minor}" for minor in re.findall(r"python3(\d\d)-template", INSTRUCTIONS)}
    assert versions == {"3.12"}


def test_no_image_and_no_tool_is_taken_as_latest() -> None:
    for line in re.findall(r"^FROM (\S+)", INSTRUCTIONS, re.MULTILINE):
        known = {"scratch", "${BASE}", "${BEAM_SDK}", "${LAUNCHER}", *stages()}
        assert line in known, line
    for name in ("BASE", "BEAM_SDK", "LAUNCHER"):
        assert re.fullmatch(r"[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?", default(name)), name
    assert "latest" not in INSTRUCTIONS
    assert "@sha256:" in default("BASE")
    for step in BUILD["steps"]:  # the images that the build itself runs
        tag = step["name"].partition("@")[0].rpartition(":")[2]
        assert ":" in step["name"] and tag != "latest" and "/" not in tag, step["name"]
    installed = re.findall(r"pip install [^\n]*?([\w-]+)(==[\d.]+)?\n", BUILD_TEXT)
    assert {name for name, version in installed if version} == {"pip-audit"}
    assert all(version for _, version in installed)


@pytest.fixture
def registry() -> Iterator[str]:
    """Address of an image registry that asks for a token, as Docker Hub's does."""
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            known = self.headers.get("Authorization") == "Bearer let-me-in"
            realm = f'Bearer realm="http://{address}/token",service="s",scope="repository:a/b:pull"'
            found = self.path == "/v2/a/b/manifests/1.0" and "oci.image.index" in str(self.headers)
            self.send_response(401 if not known else 200 if found else 404)
            self.send_header(*(("Docker-Content-Digest", digest) if known else
                               ("WWW-Authenticate", realm)))  # fmt: skip
            self.end_headers()

        def do_GET(self) -> None:
            asked = self.path == "/token?service=s&scope=repository%3Aa%2Fb%3Apull"
            self.send_response(200 if asked else 400)
            self.end_headers()
            self.wfile.write(b'{"token": "let-me-in"}')

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address
    server.shutdown()
    server.server_close()


def test_a_tags_digest_is_asked_of_its_registry(registry: str) -> None:
    found = digest_of(f"{registry}/a/b:1.0")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found)
    with pytest.raises(OSError, match="404"):
        digest_of(f"{registry}/a/b:2.0")
    text = f"ARG LAUNCHER={registry}/a/b:1.0\n    name: {registry}/a/b:1.0@sha256:{'0' * 64}\n"
    assert pinned(text, digest_of).count(f"{registry}/a/b:1.0@{found}\n") == 2


def test_a_build_begins_only_when_every_image_has_its_digest_and_torch_its_hashes(
    tmp_path: Path,
) -> None:
    assert BUILD["steps"][0]["id"] == "pinned"

    def begin(base: str = default("BASE")) -> subprocess.CompletedProcess[str]:
        script = BUILD["steps"][0]["args"][-1].replace("$$", "$").replace("${_BASE}", base)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    bare = re.compile("@sha256:[0-9a-f]{64}")
    for name, text in (("Dockerfile", DOCKERFILE), ("cloudbuild.yaml", BUILD_TEXT)):
        (tmp_path / name).write_text(bare.sub("", text), encoding="utf-8")
    refused = begin()
    images = {default(n) for n in ("BASE", "BEAM_SDK", "LAUNCHER")} | {
        step["name"] for step in BUILD["steps"]
    }
    assert refused.returncode == 1 and "run: make pins" in refused.stdout
    assert all(bare.sub("", image) in refused.stdout for image in images)
    assert "torch.lock" in refused.stdout

    for name in ("Dockerfile", "cloudbuild.yaml"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(pinned(text, lambda image: "sha256:" + "1" * 64))
    assert begin().returncode == 1  # torch is still missing
    (tmp_path / "torch.lock").write_text("torch==2.0 --hash=sha256:0\n")
    done = begin()
    assert done.returncode == 0, done.stdout + done.stderr
    assert begin("ubuntu:24.04").returncode == 1
    assert yaml.safe_load((tmp_path / "cloudbuild.yaml").read_text())["steps"][0]["id"] == "pinned"


def test_what_the_image_installs_is_locked_by_hash_at_the_versions_that_were_tested() -> None:
    assert "--require-hashes --no-deps --requirement container.lock" in stages()["build"]
    lock = (ROOT / "container.lock").read_text(encoding="utf-8")
    locked = re.findall(
        r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+) \\((?:\n +--hash=sha256:[0-9a-f]{64}.*)+)", lock, re.M
    )
    assert len(locked) == len(re.findall(r"^[A-Za-z0-9]", lock, re.M)) > 100  # each has its hashes
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    tested = {re.sub("[-_.]+", "-", name).lower(): version for name, version in tested.items()}
    others = {n: v for n, v, _ in locked if tested.get(re.sub("[-_.]+", "-", n).lower(), v) != v}
    assert others == {}, "run: make container.lock"
    names = {name for name, _, _ in locked}
    assert "--require-hashes --no-deps --requirement torch.lock" in stages()["build"]
    assert "torch" not in names and {"apache-beam", "hatchling", "google-cloud-storage"} <= names


def test_the_last_stages_have_no_compiler_and_the_default_one_is_not_root() -> None:
    final = {name: stages()[name] for name in ("runtime", "dataflow", "job")}
    for name, text in final.items():
        assert not re.search(r"\b(gcc|g\+\+|build-essential|python3\S*-dev)\b", text), name
    assert list(stages())[-1] == "job"
    assert re.search(r"^USER (?!0\b|root)\S+$", final["job"], re.MULTILINE)


def test_the_image_has_cloud_storage_and_draws_the_reports_that_people_read() -> None:
    extras = re.search(r'"\.\[([\w,]+)\]"', stages()["build"])
    assert extras is not None and set(extras[1].split(",")) == {"gcp", "report"}


def test_dataflow_finds_its_programs_and_the_launcher_its_main() -> None:
    text = stages()["dataflow"]
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in text
    assert "/opt/google/dataflow/python_template_launcher" in text
    assert "USER" not in text  # the service chooses it
    main = re.search(r"FLEX_TEMPLATE_PYTHON_PY_FILE=\S+/site-packages/(\S+)", text)
    assert main is not None
    assert (ROOT / main[1]).is_file()
    # With these set, the launcher would install from an index that closed networks do not reach.
    assert "REQUIREMENTS_FILE" not in text
    assert "SETUP_FILE" not in text


def test_everything_that_is_copied_reaches_the_builder() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", INSTRUCTIONS, re.MULTILINE)
        for source in sources.split()
    }
    assert copied == allowed


def test_cloud_build_knows_every_field() -> None:
    from google.cloud.devtools.cloudbuild_v1.types import Build

    build = Build.from_json(json.dumps(BUILD))  # raises for a field that it does not know
    assert build.timeout.total_seconds() > 3600  # torch with CUDA is gigabytes


def test_the_build_uses_every_substitution_and_no_other() -> None:
    text = "\n".join(line for line in BUILD_TEXT.splitlines() if not line.lstrip().startswith("#"))
    script = text.split("\nsteps:", 1)[1]
    # A single $ is Cloud Build's; the shell's is written $$.
    used = re.findall(r"(?<!\$)(?:\$\$)*\$(?!\$)(\{\w+\}|\S*)", script)
    assert {name.strip("{}") for name in used} == set(BUILD["substitutions"])


def test_the_build_proves_the_image_before_it_pushes_it() -> None:
    order = [step["id"] for step in BUILD["steps"]]
    assert order == ["pinned", "build", "try", "cuda", "freeze", "sbom", "audit", "push", "publish"]
    steps = {step["id"]: step for step in BUILD["steps"]}
    assert "--network=none" in steps["try"]["args"]
    example = next(a for a in steps["try"]["args"] if a.startswith("--input="))
    assert (ROOT / "examples" / Path(example).name).is_file()
    assert (
        "pip-audit --strict" in steps["audit"]["args"][-1]
    )  # else what is not found is passed over
    # A bill of materials of the image, and not of what pip lists.
    assert steps["sbom"]["args"][0] == "docker:${_IMAGE}:${_TAG}"
    assert any("cyclonedx-json=sbom.json" in each for each in steps["sbom"]["args"])
    assert "torch.version.cuda" in steps["cuda"]["args"][-1]
    assert BUILD["substitutions"]["_CUDA"].replace(".", "") in default("TORCH_INDEX")
    for defaults in ("_BASE", "_TORCH_INDEX"):
        assert BUILD["substitutions"][defaults] == default(defaults[1:])
