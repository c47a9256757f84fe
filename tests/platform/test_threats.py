"""Lines of docs/threat-model.md that no other test holds, and that its citations are true."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import parse_config
from beam_bert.settings.inference import ClassifyConfig
from tests.platform.terraform_files import ROOT, TERRAFORM

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(TERRAFORM.rglob("*.md")),
    ROOT / "SECURITY.md",
]


def test_code_in_a_model_folder_is_never_run(bert: Path, tmp_path: Path) -> None:
    from beam_bert.encoder import load_classifier
    from beam_bert.tokenization import DocumentTokenizer, WindowSettings

    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    mark = tmp_path / "code-was-run"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    for name, classes in {
        "config.json": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"},
        "tokenizer_config.json": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    }.items():
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, "auto_map": classes}))

    load_classifier(folder, precision="fp32", device="cpu")
    DocumentTokenizer(folder, WindowSettings(max_length=32), pair=False)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!env X"]
)
def test_a_config_file_cannot_make_objects(tmp_path: Path, value: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"input: {value}\noutput: o\nmodel: m\n")
    with pytest.raises(ConfigError, match="not YAML"):
        parse_config(ClassifyConfig, ["--config", str(file)], "x")


READ_A_BOMB = """
import gzip, resource, sys
from pathlib import Path
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.slices.plan import plan_units

def read(file, mebibytes):
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(b'{"text":"one"}\\n{"text":"')
        for _ in range(mebibytes):
            out.write(b"x" * 2**20)
        out.write(b'"}\\n{"text":"two"}\\n')
    files = list_files([str(file)])
    spec = inspect_source(files, SourceSpec(max_document_bytes=2**20))
    for unit in plan_units(files, spec.slice_bytes):
        for slice_ in cut_unit(unit, spec):
            for batch in read_slice(slice_, spec, ""):
                texts.extend(batch.rows["text"].to_pylist())

texts = []
read(Path(sys.argv[1]) / "small.jsonl.gz", 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read(Path(sys.argv[1]) / "bomb.jsonl.gz", 256)
assert texts == ["one", "two"] * 2, texts
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_small_archive_that_unpacks_to_much_does_not_fill_the_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_A_BOMB, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64, "MiB more for an archive of one line of 256 MiB"


def test_no_file_of_the_platform_holds_a_secret() -> None:
    kinds = {
        "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
        "service account key": r'"private_key_id"',
        "Google API key": r"AIza[0-9A-Za-z_-]{35}",
        "Google token": r"ya29\.[0-9A-Za-z_-]{20,}",
        "Hugging Face token": r"\bhf_[A-Za-z]{34}\b",
        "password": r"(?i)\b(password|secret|token)\s*[:=]\s*['\"][^'\"$\s]{8,}['\"]",
    }
    files = [
        # What another test imports from there leaves compiled files behind.
        *(
            p
            for p in TERRAFORM.rglob("*")
            if p.is_file() and p.parent.name != "__pycache__" and p.suffix != ".parquet"
        ),
        *(ROOT / name for name in ("Dockerfile", "cloudbuild.yaml", ".dockerignore")),
        *PAGES,
    ]
    for file in files:
        content = file.read_text(encoding="utf-8")
        for kind, pattern in kinds.items():
            assert not re.search(pattern, content), f"{file}: looks like a {kind}"
    assert not list(TERRAFORM.rglob("*.tfstate*"))


def test_state_and_settings_of_terraform_are_not_committed() -> None:
    ignored = (TERRAFORM / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".terraform/", "*.tfstate", "*.tfstate.*", "*.tfvars"} <= set(ignored)


@pytest.mark.parametrize("name", ["docs/threat-model.md", "SECURITY.md"])
def test_every_promise_names_a_test_that_exists(name: str) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    cited = re.findall(r"`(tests/\S+\.py)::(\w+)`", page)
    assert len(cited) > 10
    for file, name in cited:
        path = ROOT / file
        assert path.is_file(), f"{file} is gone"
        assert re.search(rf"^ *def {name}\(", path.read_text(encoding="utf-8"), re.M), (
            f"{file} has no {name}"
        )
    rows = [line for line in page.splitlines() if line.startswith("| ") and "| held by" not in line]
    for row in rows:
        held = row.rsplit("|", 2)[1]
        assert "::" in held or "not held by a test yet" in held or "---" in held, row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page}: {link}"


def _commands(page: Path, start: str) -> Iterator[list[str]]:
    """The shell commands of a page's indented blocks that begin with `start`, line ends joined."""
    joined = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    for line in joined.splitlines():
        if line.startswith("    ") and line.strip().startswith(start):
            yield shlex.split(line.replace("$PROJECT", "example").replace("$IMAGES", "x.pkg.dev/r"))


def test_every_classify_command_of_the_docs_has_flags_that_exist() -> None:
    commands = list(_commands(ROOT / "docs/dataflow.md", "python -m pipelines.classify"))
    assert len(commands) == 2
    for command in commands:
        config, beam_flags = parse_config(ClassifyConfig, command[3:], "x")
        assert config.input == ("gs://example-data/in/*.jsonl",)
        assert "--runner=DataflowRunner" in beam_flags


def test_the_template_command_of_the_docs_has_parameters_that_pass_their_checks() -> None:
    metadata = json.loads((TERRAFORM / "flex_template/metadata.json").read_text(encoding="utf-8"))
    known = {parameter["name"]: parameter for parameter in metadata["parameters"]}
    ((*_, given),) = _commands(ROOT / "docs/dataflow.md", "gcloud dataflow flex-template run")
    parameters = given.removeprefix("--parameters=^:::^").split(":::")
    names = set()
    for name, value in (parameter.split("=", 1) for parameter in parameters):
        names.add(name)
        assert all(re.search(regex, value) for regex in known[name].get("regexes", []))
    assert {name for name, parameter in known.items() if not parameter["isOptional"]} <= names
