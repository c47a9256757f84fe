"""The documents: links lead somewhere, commands are commands, messages are what code says."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from beam_bert.jobs.command_line import settings_parser, with_underscores
from beam_bert.jobs.commands import COMMANDS, PROGRAMS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"^(?: {4}|```).*$|`[^`]*`", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text("utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_on_the_sites_map() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed: set[str] = set()
    for entry in nav:
        listed |= (
            {entry}
            if isinstance(entry, str)
            else {page for part in entry.values() for page in part}
        )
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")}


def commands(page: Path) -> list[str]:
    """The lines of its indented blocks that call beam-bert, continued lines joined."""
    text = re.sub(r"\\\n\s+", " ", page.read_text("utf-8"))
    blocks = re.findall(r"^(?:    |\t)(.*)$", text, re.MULTILINE)
    lines = [line.removeprefix("$ ") for line in blocks]
    return [line for line in lines if re.match(r"(beam-bert|python -m pipelines\.\w+) ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_flag_of_the_documents_is_there(page: Path) -> None:
    for line in commands(page):
        line = re.sub(r"\[([^\]]*)\]", r"\1", line.split(" #")[0].split(">>")[0].rstrip("…\\ "))
        words = shlex.split(line)
        words = words[1:] if words[0] == "beam-bert" else [words[2].split(".")[1], *words[3:]]
        if words[0].startswith("-") or words[0] in PROGRAMS or not words[0].isalpha():
            continue
        command = COMMANDS[words[0]]
        task = next((w for f, w in pairwise(words) if f == "--task"), None)
        settings = command.tasks[task][0] if task in command.tasks else command.settings
        parser = settings_parser(settings, "x", beam=command.beam)
        flags = [w for w in with_underscores(words[1:], parser) if w.startswith("--")]
        for flag in flags:
            name = flag.split("=")[0]
            known = name in parser._option_string_actions or name in ("--json", "--help")
            assert known or (command.beam and name in BEAMS), f"{page.name}: {line}: {name}"


# Flags of Beam and its runners that the documents show.
BEAMS = {
    "--runner", "--project", "--region", "--temp_location", "--staging_location",
    "--sdk_container_image", "--service_account_email", "--subnetwork", "--no_use_public_ips",
    "--job_endpoint", "--environment_type", "--environment_option", "--direct_num_workers",
    "--direct_running_mode", "--max_num_workers", "--machine_type", "--job_name", "--labels",
    "--flink_master", "--parallelism", "--dataflow_kms_key", "--dataflow_service_options",
    "--prism_location", "--artifact_endpoint", "--worker_machine_type", "--disk_size_gb",
    "--number_of_worker_harness_threads", "--experiments", "--extra_package", "--update",
    "--flink_version", "--checkpointing_interval", "--environment_options", "--metrics_report_file",
}  # fmt: skip


def test_the_messages_that_troubleshooting_quotes_are_messages_of_ours() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "beam_bert").rglob("*.py"))
    rows = re.findall(r"^\| `([^`]+)`", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.M)
    assert len(rows) > 8
    for message in rows:
        if message.startswith("No module named"):
            continue  # Python's own
        assert message in source, message


def test_the_reasons_of_rejects_are_all_explained() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "beam_bert").rglob("*.py"))
    page = (ROOT / "docs/rejects.md").read_text("utf-8")
    listed = re.findall(
        r"^    (\w+) {2,}", (ROOT / "beam_bert/sources/__init__.py").read_text("utf-8"), re.M
    )
    for reason in {reason for reason in listed if "_" in reason and f'"{reason}"' in source}:
        assert f"`{reason}`" in page, reason


def test_a_package_index_gets_a_readme_without_links_that_lead_nowhere() -> None:
    from hatchling.builders.wheel import WheelBuilder

    text = WheelBuilder(str(ROOT)).metadata.core.readme
    assert "[Apache Beam](https://beam.apache.org)" in text
    assert [link for link in LINK.findall(text) if "://" not in link] == []
    assert "docs/output.md" in text and "![" not in text


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "pictures").iterdir()), ids=str)
def test_every_picture_is_small_and_shown_somewhere(picture: Path) -> None:
    assert picture.stat().st_size < 200_000
    assert any(f"pictures/{picture.name})" in page.read_text("utf-8") for page in PAGES)
