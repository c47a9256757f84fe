"""The Terraform files: what a provider at hand would refuse, and what a reviewer would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.platform.terraform_files import (
    ROOT,
    TERRAFORM,
    Block,
    fields,
    folders,
    is_block,
    named,
    parsed,
    resources,
    text,
)

SCHEMA = json.loads(Path(__file__).with_name("provider_schema.json").read_text(encoding="utf-8"))
META_ARGUMENTS = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner"}
MODULES = sorted((TERRAFORM / "modules").iterdir())
ALL_BLOCKS = list(resources(TERRAFORM))
needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform")


def relative(path: Path) -> str:
    return str(path.relative_to(TERRAFORM))


@needs_terraform
def test_the_files_are_formatted() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "-diff", str(TERRAFORM)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _problems(body: dict[str, Any], schema: dict[str, Any], place: str) -> Iterator[str]:
    given = dict(fields(body))
    for name, value in given.items():
        if name not in schema:
            yield f"{place}: {name} is not in the provider's schema"
            continue
        if schema[name].get("computed"):
            yield f"{place}: {name} is computed, it cannot be given"
        inner = schema[name].get("fields")
        if is_block(value):
            if inner is None:
                yield f"{place}: {name} is no block"
            for each in value:
                yield from _problems(each, inner or {}, f"{place}.{name}")
        elif inner is not None:
            yield f"{place}: {name} is a block, it takes no ="
    for name, entry in schema.items():
        if entry.get("required") and name not in given:
            yield f"{place}: {name} is required"


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_every_argument_of_a_resource_is_in_the_providers_schema(block: Block) -> None:
    schema = SCHEMA["schemas"].get(f"{block.kind}.{block.type}")
    assert schema is not None, (
        f"{block}: run tests/platform/extract_provider_schema.py, its docstring says how"
    )
    body = {name: value for name, value in block.body.items() if name not in META_ARGUMENTS}
    assert list(_problems(body, schema, str(block))) == []


def test_the_schema_check_finds_what_is_wrong() -> None:
    source = """resource "google_storage_bucket" "b" {
      name = "b"
      colour = "red"
      versioning = { enabled = true }
      lifecycle_rule {
        action { type = "Delete" }
        condition { agee = 3 }
      }
    }"""
    ((_, instances),) = named(hcl2.loads(source)["resource"])
    ((_, body),) = named([instances])
    schema = SCHEMA["schemas"]["resource.google_storage_bucket"]
    assert sorted(_problems(body, schema, "b")) == [
        "b.lifecycle_rule.condition: agee is not in the provider's schema",
        "b: colour is not in the provider's schema",
        "b: location is required",
        "b: versioning is a block, it takes no =",
    ]


@pytest.mark.parametrize("folder", folders(), ids=relative)
def test_versions_of_terraform_and_the_provider_are_pinned(folder: Path) -> None:
    ((settings),) = parsed(folder / "versions.tf")["terraform"]
    assert text(settings["required_version"]) == ">= 1.9, < 2.0"
    providers = settings["required_providers"][0]
    assert "google" in providers
    for provider, about in ((n, a) for n, a in providers.items() if n.startswith("google")):
        assert {text(name): text(value) for name, value in about.items()} == {
            "source": f"hashicorp/{provider}",
            "version": "~> 7.0",
        }


@pytest.mark.parametrize("folder", folders(), ids=relative)
def test_every_variable_and_output_says_what_it_is(folder: Path) -> None:
    for kind, needed in (("variable", {"description", "type"}), ("output", {"description"})):
        for file in folder.glob("*.tf"):
            for name, body in named(parsed(file).get(kind, [])):
                assert needed <= set(body), f"{relative(file)}: {kind} {name}"


def _module_calls() -> Iterator[tuple[str, dict[str, Any], Path]]:
    """Every module block of the examples and of the READMEs' marked snippets."""
    for file in sorted((TERRAFORM / "examples").rglob("*.tf")):
        for name, body in named(parsed(file).get("module", [])):
            yield f"{relative(file)}: {name}", body, file.parent / text(body["source"])
    for readme in sorted(TERRAFORM.rglob("README.md")):
        for snippet in re.findall(
            r"```hcl\n# tftest\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL
        ):
            for name, body in named(hcl2.loads(snippet)["module"]):
                yield f"{relative(readme)}: {name}", body, TERRAFORM / text(body["source"])


CALLS = list(_module_calls())


@pytest.mark.parametrize(("body", "source"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS])
def test_every_example_gives_a_module_what_it_takes(body: dict[str, Any], source: Path) -> None:
    variables = {
        name: variable
        for file in source.glob("*.tf")
        for name, variable in named(parsed(file).get("variable", []))
    }
    given = {name for name, _ in fields(body)} - META_ARGUMENTS - {"source"}
    assert given <= set(variables)
    required = {name for name, variable in variables.items() if "default" not in variable}
    assert required <= given


def test_every_module_has_an_example_in_its_readme() -> None:
    shown = {source.resolve() for name, _, source in CALLS if "README.md" in name}
    assert shown == set(MODULES)


@pytest.mark.parametrize("snippet_of", [TERRAFORM, *MODULES], ids=relative)
def test_every_hcl_snippet_is_marked_so_that_it_is_tested(snippet_of: Path) -> None:
    readme = (snippet_of / "README.md").read_text(encoding="utf-8")
    assert readme.count("```hcl\n") == readme.count("```hcl\n# tftest\n")


def test_the_outputs_that_the_examples_use_exist() -> None:
    for file in (TERRAFORM / "examples").rglob("*.tf"):
        used = re.findall(r'module\.(\w+)(?:\["this"\])?\.(\w+)', file.read_text(encoding="utf-8"))
        for module, output in used:
            outputs = parsed(TERRAFORM / "modules" / module / "outputs.tf")["output"]
            assert output in dict(named(outputs)), f"{relative(file)}: {module}.{output}"


def test_access_is_granted_bit_by_bit_and_never_widely() -> None:
    allowed = {
        "google_artifact_registry_repository_iam_member",
        "google_kms_crypto_key_iam_member",
        "google_project_iam_audit_config",
        "google_project_iam_custom_role",
        "google_project_iam_member",
        "google_service_account_iam_member",
        "google_storage_bucket_iam_member",
    }
    assert {block.type for block in ALL_BLOCKS if "_iam_" in block.type} == allowed
    assert not [block for block in ALL_BLOCKS if block.type == "google_service_account_key"]
    for file in TERRAFORM.rglob("*.tf"):
        source = file.read_text(encoding="utf-8")
        assert not re.search(r"roles/(owner|editor|viewer)\b", source), file
        assert not re.search(r"\ball(Authenticated)?Users\b", source), file
        assert not re.search(r"roles/storage\.(admin|objectAdmin|legacy)", source), file


def _bucket_writers() -> dict[str, set[str]]:
    (locals_,) = parsed(TERRAFORM / "modules/service_accounts/iam.tf")["locals"]
    writers: dict[str, set[str]] = {}
    for grant in locals_["bucket_roles"].values():
        if text(grant["role"]) != "roles/storage.objectViewer":
            writers.setdefault(text(grant["bucket"]), set()).add(text(grant["account"]))
    return writers


def test_each_bucket_is_written_by_one_account_and_raw_by_none() -> None:
    assert _bucket_writers() == {
        "models": {"trainer"},
        "output": {"worker"},
        "temp": {"worker"},
        "templates": {"builder"},
    }


def test_no_role_of_the_project_reaches_objects() -> None:
    """A worker that may create objects anywhere can promote a model: aliases are objects."""
    for block in ALL_BLOCKS:
        if block.type == "google_project_iam_custom_role":
            permissions = {text(each) for each in block.body["permissions"]}
            assert not {each for each in permissions if each.startswith("storage.objects.")}, block
    (locals_,) = parsed(TERRAFORM / "modules/service_accounts/iam.tf")["locals"]
    project = {text(grant["role"]) for grant in locals_["project_roles"].values()}
    assert "roles/dataflow.worker" not in project
    assert not {role for role in project if role.startswith("roles/storage")}


def test_a_worker_and_a_builder_share_a_bucket_but_no_prefix_of_it() -> None:
    (locals_,) = parsed(TERRAFORM / "modules/service_accounts/iam.tf")["locals"]
    prefixes = {
        text(grant["account"]): {text(each) for each in grant["prefixes"]}
        for grant in locals_["bucket_roles"].values()
        if text(grant["bucket"]) == "temp"
    }
    assert prefixes == {"worker": {"temp/", "staging/"}, "builder": {"source/"}}
    flex = (TERRAFORM / "modules/flex_template/main.tf").read_text(encoding="utf-8")
    assert '/temp"' in flex and '/staging"' in flex
    outputs = (TERRAFORM / "examples/nightly/outputs.tf").read_text(encoding="utf-8")
    assert "--gcs-source-staging-dir=${module.storage.urls.temp}/source" in outputs


def test_a_skip_that_names_audit_logs_has_them() -> None:
    assert [b for b in ALL_BLOCKS if b.type == "google_project_iam_audit_config"]


def test_every_placeholder_is_of_the_tables_columns_and_has_no_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.syspath_prepend(str(TERRAFORM))
    import generate

    assert generate.stale_placeholders() == [], "run: python terraform/generate.py"
    columns = json.loads((TERRAFORM / "modules/warehouse/columns.json").read_text("utf-8"))
    for path in generate.placeholders():
        file = pq.ParquetFile(path)
        assert file.metadata.num_rows == 0
        kinds = ("rejects",) if "rejects" in path.name else ("id", "scores", "lists", "origin")
        expected = [column["name"] for kind in kinds for column in columns[kind]]
        assert file.schema_arrow.names == expected


def test_every_checkov_skip_says_why() -> None:
    skips = [
        line.strip()
        for file in TERRAFORM.rglob("*.tf")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "checkov:skip" in line
    ]
    assert skips
    for skip in skips:
        assert re.fullmatch(r"#checkov:skip=CKV2?_GCP_\d+:.{20,}", skip), skip


def test_buckets_are_closed_to_the_public_and_workers_have_no_address() -> None:
    for block in ALL_BLOCKS:
        if block.type == "google_storage_bucket":
            assert block.body["uniform_bucket_level_access"] is True
            assert text(block.body["public_access_prevention"]) == "enforced"
    source = (TERRAFORM / "modules/flex_template/main.tf").read_text(encoding="utf-8")
    assert "WORKER_IP_PRIVATE" in source
    assert "WORKER_IP_PUBLIC" not in source


def test_the_network_lets_out_to_googles_apis_and_nothing_else() -> None:
    rules = {
        block.name: block.body
        for block in ALL_BLOCKS
        if block.type == "google_compute_firewall" and text(block.body["direction"]) == "EGRESS"
    }
    everywhere = ["0.0.0.0/0"]
    denied = rules.pop("deny_out")
    assert [text(each) for each in denied["destination_ranges"]] == everywhere
    assert text(denied["deny"][0]["protocol"]) == "all"
    allowed = {name: [text(e) for e in body["destination_ranges"]] for name, body in rules.items()}
    assert allowed == {"workers_out": ["var.subnet_cidr"], "google_out": ["local.google_range"]}
    (route,) = [block for block in ALL_BLOCKS if block.type == "google_compute_route"]
    assert text(route.body["dest_range"]) == "local.google_range"
    (network,) = [block for block in ALL_BLOCKS if block.type == "google_compute_network"]
    assert network.body["delete_default_routes_on_create"] is True
    assert not [block for block in ALL_BLOCKS if "router" in block.type]  # no Cloud NAT


def test_the_alerts_read_counters_that_the_pipeline_has() -> None:
    source = (TERRAFORM / "modules/monitoring/main.tf").read_text(encoding="utf-8")
    pipeline = ROOT / "beam_bert/pipeline"
    transforms = "".join((pipeline / f).read_text("utf-8") for f in ("read.py", "write.py"))
    assert r"metric_name=\"rows_read\"" in source
    assert 'Metrics.counter(NAMESPACE, "rows_read")' in transforms
    assert r"full_match(\"rejects_.+\")" in source
    assert 'Metrics.counter(NAMESPACE, f"rejects_{reason}")' in transforms


def test_the_workflow_reads_what_main_tf_sets() -> None:
    folder = TERRAFORM / "modules/nightly"
    source = (folder / "nightly.yaml").read_text(encoding="utf-8")
    main = (folder / "main.tf").read_text(encoding="utf-8")
    workflows = {b.name: b for b in ALL_BLOCKS if b.type == "google_workflows_workflow"}
    for name, block in workflows.items():
        steps = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        read = set(re.findall(r'sys\.get_env\("(\w+)"\)', steps))
        # Built in: https://cloud.google.com/workflows/docs/reference/environment-variables
        assert read - {"GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID"} == set(block.body["user_env_vars"])
    for map_, local in (("settings", "settings"), ("training", "training")):
        used = set(re.findall(rf"(?<![\w.]){map_}\.(\w+)", source))
        block = main[main.index(f"  {local} ") :].split("\n  })", 1)[0]
        assert used <= set(re.findall(r"^\s+(\w+)\s+=", block, re.MULTILINE)), map_


def test_what_is_generated_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TERRAFORM))
    import generate

    stale = [
        relative(path)
        for path, content in generate.generated_files().items()
        if path.read_text(encoding="utf-8") != content
    ]
    assert stale == [], "run: python terraform/generate.py"


def test_the_costs_in_the_readme_are_what_the_commands_print() -> None:
    readme = (TERRAFORM / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"    \$ python (terraform/cost\.py.*)\n((?:    .+\n)+)", readme)
    assert len(shown) == 2 and any("--shards" in command for command, _ in shown)
    for command, printed in shown:
        done = subprocess.run(
            [sys.executable, *command.split()], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert re.sub("^    ", "", printed, flags=re.MULTILINE) == done.stdout


def test_the_costs_reckon_with_the_examples_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TERRAFORM))
    import cost

    from beam_bert.settings.inference import ClassifyConfig

    variables = (TERRAFORM / "examples/nightly/variables.tf").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"(\w+) += optional\(\w+, \"?([\w-]+)\"?\)", variables))
    assert int(defaults["maximum"]) == cost.WORKERS
    assert f"deadline_hours = optional(number, {cost.DEADLINE_H})" in variables
    assert int(defaults["poll_s"]) == cost.POLL_S
    machines = dict(cost.MACHINES)
    (gpu,) = (name for name in machines if name.startswith("nvidia"))
    assert machines.pop(gpu) == ClassifyConfig.GPU_SLICE_BYTES
    cpu = "n2-standard-4"
    assert machines == {cpu: ClassifyConfig.CPU_SLICE_BYTES}
    assert f'machine_type = optional(string, "{cpu}")' in variables
    # The defaults finish a million documents of 64 tokens well within the classification's time.
    prices = cost.yaml.safe_load(cost.PRICES.read_text(encoding="utf-8"))
    speed = prices["machines"][cpu]["tokens_a_second"] * cost.WORKERS
    assert 64e6 / speed / 3600 < cost.DEADLINE_H - 3


def _references(source: str) -> set[str]:
    """What an HCL text refers to: var.x, local.x, module.x, data.t.n and google_t.n."""
    found = set(re.findall(r"(?<![\w.\"/-])((?:var|local|module)\.\w+)", source))
    found |= set(re.findall(r"(?<![\w.\"/-])(data\.google_\w+\.\w+)", source))
    return found | set(re.findall(r"(?<![\w.\"/-])(google_\w+\.\w+)", source))


@pytest.mark.parametrize("folder", folders(), ids=relative)
def test_everything_that_is_referred_to_is_declared(folder: Path) -> None:
    declared = set()
    source = ""
    for file in sorted(folder.glob("*.tf")):
        content = parsed(file)
        source += re.sub(r"^\s*#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        declared |= {f"var.{name}" for name, _ in named(content.get("variable", []))}
        declared |= {f"module.{name}" for name, _ in named(content.get("module", []))}
        for locals_ in content.get("locals", []):
            declared |= {f"local.{name}" for name, _ in fields(locals_)}
    for block in resources(folder):
        prefix = "data." if block.kind == "data" else ""
        declared.add(f"{prefix}{block.type}.{block.name}")
    assert _references(source) <= declared
    unused = {name for name in declared if name[:4] in ("var.", "loca")} - _references(source)
    assert unused == set()
