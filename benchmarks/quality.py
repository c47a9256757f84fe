"""What fine-tuning reaches: the product's own commands on real labels, measured on rows set apart.

    python benchmarks/quality.py --data FOLDER --base MODEL [--only TASK …]
                                 [--seeds 0 …] [--work FOLDER] [--test NAME=FILE ...]

FOLDER holds banking77/train.csv (CC BY 4.0, PolyAI) and goemotions/{group,original}-{train,dev}.tsv
with {group,original}-labels.txt (Apache-2.0, Google). Each run is `pipelines.finetune`, which holds
out some of the training rows to choose the epoch, the temperature and the threshold on, then
`pipelines.evaluate` on rows that it never saw: goemotions' dev files, and every tenth row of
banking77, each seed another tenth (or the file that `--test` names; then all of train.csv is
trained on). "once" is banking77 at finetune's defaults. The student learns from the same seed's
banking77 model. Minutes are CPU time of training alone, by all its threads. What `--work` has the
result of is not run again, unless the task's settings have changed.

So few rows show a calibration error even where every confidence is right: "by chance". "Together"
is that of all seeds' answers in one curve, which chance moves less.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

COLUMNS = ["--format", "tsv", "--column_names", "text", "label", "id"]
COLUMNS += ["--text_column", "text", "--label_column", "label", "--label_separator", ","]
BANKING = ["--text_column", "text", "--label_column", "category"]


@dataclass(frozen=True)
class Task:
    """A line of the table.

    Attributes:
      metric: that has an aim.
      aim: at least that; None: for a student, a share of the teacher's.
      train, test: file names below the data folder.
      columns: flags of both commands.
      settings: flags of finetune that are not its defaults.
    """

    metric: str
    aim: float | None
    train: str
    test: str
    columns: list[str]
    settings: list[str] = field(default_factory=list)


TASKS = {
    "banking77": Task(
        "accuracy",
        0.94,
        "banking77/train.csv",
        "",
        BANKING,
        [
            *("--soup", "2", "--epochs", "8", "--r_drop_weight", "0.5", "--dropout", "0.2"),
            *("--holdout", "0.05"),
        ],
    ),
    "once": Task("accuracy", None, "banking77/train.csv", "", BANKING),
    "groups": Task(
        "macro_f1",
        0.69,
        "goemotions/group-train.tsv",
        "goemotions/group-dev.tsv",
        [*COLUMNS, "--label_names", "{data}/goemotions/group-labels.txt"],
        ["--epochs", "2", "--learning_rate", "1e-4", "--token_mask_rate", "0"],
    ),
    "emotions": Task(
        "macro_f1",
        0.46,
        "goemotions/original-train.tsv",
        "goemotions/original-dev.tsv",
        [*COLUMNS, "--label_names", "{data}/goemotions/original-labels.txt"],
        ["--epochs", "1", "--learning_rate", "1e-4", "--token_mask_rate", "0"],
    ),
    "student": Task(
        "accuracy",
        None,
        "banking77/train.csv",
        "",
        BANKING,
        [
            *("--pooling", "cls", "--student_layers", "2", "--student_vocabulary", "2500"),
            *("--epochs", "10", "--learning_rate", "5e-4"),
        ],
    ),
}
KEPT_BY_STUDENT = 0.97


@dataclass(frozen=True)
class Found:
    """What one run came to.

    Attributes:
      metrics: by name.
      by_chance: the calibration error that so few rows show if every confidence is right.
      curve: of calibration: by the bins' lower ends, answers and how many too few are right.
    """

    metrics: dict[str, float]
    by_chance: float
    curve: dict[str, tuple[int, float]]
    parameters: int
    minutes: float


def main() -> None:
    """Run each task with each seed and print the table."""
    arguments = _arguments()
    tests = dict(each.split("=", 1) for each in arguments.test)
    work = Path(arguments.work or tempfile.mkdtemp(prefix="quality-"))
    work.mkdir(parents=True, exist_ok=True)
    columns = ["task", "seed", "accuracy", "macro F1", "calibration error", "by chance"]
    columns += ["parameters", "CPU minutes"]
    print(f"| {' | '.join(columns)} |")
    print(f"|{' --- |' * len(columns)}", flush=True)
    found: dict[str, list[Found]] = {}
    for name in arguments.only:
        for seed in arguments.seeds:
            result = _run(name, seed, arguments, tests, work)
            found.setdefault(name, []).append(result)
            print(
                f"| {name} | {seed} | {result.metrics['accuracy']:.4f} | "
                f"{result.metrics['macro_f1']:.4f} | {result.metrics['calibration_error']:.4f} | "
                f"{result.by_chance:.4f} | {result.parameters / 1e6:.1f} M | "
                f"{result.minutes:.1f} |",
                flush=True,
            )
    for name, results in found.items():
        task = TASKS[name]
        mean = statistics.mean(result.metrics[task.metric] for result in results)
        error = statistics.mean(result.metrics["calibration_error"] for result in results)
        by_chance = statistics.mean(result.by_chance for result in results)
        aim = task.aim
        if name == "student" and "banking77" in found:
            teacher = statistics.mean(each.metrics[task.metric] for each in found["banking77"])
            aim = KEPT_BY_STUDENT * teacher
        aimed = "" if aim is None else f" (aim {aim:.4f})"
        print(
            f"{name}: {task.metric} {mean:.4f}{aimed}, calibration error {error:.4f} (aim 0.02; "
            f"{by_chance:.4f} by chance), together {_together(results):.4f}"
        )


def _together(results: list[Found]) -> float:
    """The calibration error of all answers in one curve."""
    gaps: dict[str, float] = {}
    for result in results:
        for bin_, (_, gap) in result.curve.items():
            gaps[bin_] = gaps.get(bin_, 0.0) + gap
    count = sum(count for result in results for count, _ in result.curve.values())
    return sum(map(abs, gaps.values())) / count


def _run(
    name: str, seed: int, arguments: argparse.Namespace, tests: dict[str, str], work: Path
) -> Found:
    task = TASKS[name]
    kept = work / f"{name}-{seed}.json"
    if kept.is_file():
        earlier = json.loads(kept.read_text("utf-8"))
        if earlier["settings"] == task.settings:
            return Found(**earlier["found"])
    train, test = _files(name, seed, arguments.data, tests, work)
    columns = [each.format(data=arguments.data) for each in task.columns]
    model, report = work / f"{name}-{seed}", work / f"{name}-{seed}-report"
    settings = list(task.settings)
    if name == "student":
        settings += ["--teacher", str(work / f"banking77-{seed}")]
    before = _cpu_seconds()
    _call(
        "finetune",
        *("--train", str(train), "--base", arguments.base, *columns, "--seed", str(seed)),
        *("--layout", "folder", "--overwrite", "--accept_unlicensed", "--accept_base_license"),
        *("--work_folder", str(work / "checkpoints" / f"{name}-{seed}")),
        *(*settings, "--output", str(model)),
    )
    minutes = (_cpu_seconds() - before) / 60
    _call(
        "evaluate",
        *("--model", str(model), "--input", str(test), *columns, "--output", str(report)),
    )
    evaluation = json.loads((report / "evaluation.json").read_text("utf-8"))
    found = Found(
        {key: metric["value"] for key, metric in evaluation["metrics"].items()},
        evaluation["calibration_error_by_chance"],
        {
            str(point["low"]): (
                point["count"],
                point["count"] * (point["confidence"] - point["right"]["value"]),
            )
            for point in evaluation["calibration"]
        },
        _parameters(model),
        minutes,
    )
    result = {"settings": task.settings, "found": asdict(found)}
    kept.write_text(json.dumps(result), encoding="utf-8")
    return found


def _files(name: str, seed: int, data: str, tests: dict[str, str], work: Path) -> tuple[Path, Path]:
    """What to train on, and what to measure on."""
    task = TASKS[name]
    train = Path(data) / task.train
    asked = tests.get(name if task.test else "banking77")
    if asked or task.test:
        return train, Path(asked) if asked else Path(data) / task.test
    with train.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    parts = work / f"train-part-{seed}.csv", work / f"test-part-{seed}.csv"
    for path, chosen in (
        (parts[0], [row for i, row in enumerate(rows) if i % 10 != seed % 10]),
        (parts[1], rows[seed % 10 :: 10]),
    ):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *chosen])
    return parts


def _call(job: str, *flags: str) -> None:
    """Run a job; its words are shown where it fails."""
    command = [sys.executable, "-m", f"pipelines.{job}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parameters(model: Path) -> int:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        size = 1
        for each in shape:
            size *= each
        total += size
    return total


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--work", help="folder for models and reports; default: a new one")
    parser.add_argument("--test", nargs="*", default=[], metavar="NAME=FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
