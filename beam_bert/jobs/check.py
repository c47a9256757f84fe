"""The command `check`: what is here and what is missing, before a run.

beam-bert check                                      this machine
beam-bert check --input in/ --output out/ --model M  and all that a run would check first
beam-bert check --runner=DataflowRunner …            and what Dataflow is told
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from beam_bert.errors import BeamBertError, ConfigError, one_line, printable
from beam_bert.jobs.command_line import parse_config
from beam_bert.settings.inference import ClassifyConfig, SentimentConfig
from beam_bert.software import software_versions
from beam_bert.terminal import TERMINAL

Status = Literal["ok", "missing", "wrong"]
EXTRAS = {
    "report": ("jinja2", "matplotlib"),
    "gcp": ("google.cloud.dataflow_v1beta3",),
    "delta": ("deltalake",),
    "iceberg": ("pyiceberg",),
}
_STYLES = {"ok": "green", "missing": "yellow", "wrong": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `wrong` is what a run of the given flags would fail of."""

    status: Status
    what: str
    text: str


def run(argv: Sequence[str], prog: str) -> None:
    """Run the command.

    Raises:
      ConfigError: the run that the flags describe could not start.
    """
    if {"-h", "--help"} & set(argv):
        print((__doc__ or "").strip())
        return
    if "--log_format=json" in argv:
        TERMINAL.as_json = True
    findings = [*_machine()]
    if set(argv) - {"--log_format=json"}:
        findings += _run_of(argv, prog)
    _show(findings)
    if wrong := [finding.text for finding in findings if finding.status == "wrong"]:
        raise ConfigError(wrong[0])


def _machine() -> Iterator[Finding]:
    versions = ", ".join(f"{n} {version}" for n, version in software_versions(beam=True).items())
    yield Finding("ok", "software", f"Python {platform.python_version()}, {versions}")
    import torch

    from beam_bert.encoder.precision import has_amx, has_native_bf16, resolve_precision

    features = [
        name for name, there in (("AMX", has_amx()), ("AVX-512 BF16", has_native_bf16())) if there
    ]
    precision = resolve_precision("auto", torch.device("cpu"))
    pages = os.sysconf("SC_PHYS_PAGES")
    memory = f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**30:,.0f} GiB of memory"
    yield Finding(
        "ok",
        "CPU",
        f"{torch.get_num_threads()} cores, {memory}, {', '.join(features) or 'no bf16'}; "
        f"--precision auto is {precision}",
    )
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
        precision = resolve_precision("auto", torch.device("cuda"))
        yield Finding(
            "ok",
            "CUDA",
            f"{torch.cuda.device_count()} x {', '.join(sorted(names))}, CUDA {torch.version.cuda}; "
            f"--precision auto is {precision}",
        )
    else:
        why = "torch is built without it" if torch.version.cuda is None else "no GPU or driver"
        yield Finding("missing", "CUDA", f"{why}; runs are on the CPU")
    for extra, modules in EXTRAS.items():
        there = all(_is_installed(module) for module in modules)
        text = "installed" if there else f"pip install 'beam-bert[{extra}]'"
        yield Finding("ok" if there else "missing", f"extra [{extra}]", text)
    yield _google()
    for program, purpose in (("java", "Flink's job service"), ("docker", "workers in containers")):
        path = shutil.which(program)
        yield Finding(
            "ok" if path else "missing", program, path or f"not found; only {purpose} needs it"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is not there
        return False


def _google() -> Finding:
    """Whether there are credentials for gs://, without asking Google."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        host = os.environ["STORAGE_EMULATOR_HOST"]
        return Finding("ok", "gs://", f"STORAGE_EMULATOR_HOST={host}: an emulator")
    from beam_bert.storage.gcs_client import credentials_file

    file = credentials_file()
    if file.is_file():
        return Finding("ok", "gs://", f"credentials in {file}")
    return Finding(
        "missing",
        "gs://",
        f"no {file}; run `gcloud auth application-default login` for gs:// paths",
    )


def _run_of(words: Sequence[str], prog: str) -> Iterator[Finding]:
    """All that a run with these flags checks before it starts."""
    from beam_bert.jobs.plan import plan_job
    from beam_bert.jobs.runners import runner_of

    names_model = any(word.split("=")[0] == "--model" for word in words)
    job, kind = ("classify", ClassifyConfig) if names_model else ("sentiment", SentimentConfig)
    try:
        config, beam_flags = parse_config(kind, words, prog)
        plan = plan_job(job, config, beam_flags)
    except BeamBertError as error:
        yield Finding("wrong", "this run", one_line(error))
        return
    size = sum(file.size for file in plan.files)
    yield Finding("ok", "input", f"{len(plan.files):,} files, {size:,} bytes, {plan.spec.format}")
    carried = ", ".join(plan.spec.resolved.names) or "none"
    yield Finding("ok", "columns kept", carried)
    labels = len(plan.encoder.labels)
    yield Finding(
        "ok", "model", f"{plan.model.name}, version {plan.model.shown_version}, {labels} labels"
    )
    yield Finding("ok", "runner", runner_of(plan.options))


def _show(findings: Sequence[Finding]) -> None:
    table = Table(show_header=False)
    for finding in findings:
        status = Text(finding.status, _STYLES[finding.status])
        table.add_row(status, Text(finding.what), Text(printable(finding.text)))
    TERMINAL.show(table)
    wrong = [finding for finding in findings if finding.status == "wrong"]
    line = wrong[0].text if wrong else "nothing is missing that a run here would need"
    TERMINAL.result("checked", {"findings": [asdict(finding) for finding in findings]}, line)
