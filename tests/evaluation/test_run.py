"""`pipelines.evaluate` over real files and tiny real models: what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from beam_bert.errors import ConfigError, InputError
from beam_bert.evaluation import data as evaluation_data
from beam_bert.evaluation.balance import lengths
from beam_bert.evaluation.gate import judge
from beam_bert.evaluation.run import measure
from beam_bert.labelled.rows import content_key
from beam_bert.labelled.trained_rows import TRAINED_ROWS, trained_rows_bytes
from beam_bert.reports import pages
from beam_bert.reports.evaluation import Evaluation
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.nightly import GateConfig
from beam_bert.storage.places import open_storage
from pipelines.evaluate import main
from tests.training.conftest import labelled_rows

LABELS = ("negative", "neutral", "positive")
TEXTS = [
    f"{who} {does} the {what}"
    for who in ("i", "she", "he", "we")
    for does in ("love", "hate", "like")
    for what in ("film", "book", "phone", "card", "movie")
]


def answers(model: Path, texts: list[str], pairs: list[str] | None = None) -> np.ndarray:
    """Logits as transformers computes them."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    inputs = tokenizer(texts, pairs, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return network(**inputs).logits.numpy()


def write_csv(path: Path, rows: list[list[object]], header: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def evaluated(output: Path) -> Evaluation:
    return Evaluation.model_validate_json((output / "evaluation.json").read_bytes())


def run(output: Path, *flags: object, page: bool = False) -> Evaluation:
    """Evaluate; drawing the page costs a second or two, so only those who look at it have it."""
    common = ("--precision", "fp32", "--device", "cpu", "--replicates", "100")
    with pytest.MonkeyPatch.context() as patch:
        if not page:
            patch.setattr("beam_bert.evaluation.run.render_evaluation", lambda found: "")
        assert main([str(flag) for flag in (*flags, *common, "--output", output)]) == 0
    return evaluated(output)


@pytest.fixture(scope="module")
def labelled(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that carry the model's own answer, but for every fifth."""
    given = answers(bert, TEXTS).argmax(axis=1)
    rows: list[list[object]] = []
    for i, text in enumerate(TEXTS):
        label = (given[i] + 1) % 3 if i % 5 == 0 else given[i]
        rows.append([i, text, LABELS[label], "web" if i % 5 == 0 else "mail", "en"])
    header = ["id", "text", "category", "channel", "language"]
    return write_csv(tmp_path_factory.mktemp("rows") / "dev.csv", rows, header)


def test_a_single_label_model_is_measured_as_its_answers_are(
    bert: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model", bert, "--input", labelled, "--label_column", "category")
    found = run(tmp_path / "report", *flags, "--slices", "channel,language", page=True)
    assert (found.rows.read, found.rows.evaluated, found.rows.rejected) == (60, 60, 0)
    accuracy = found.metrics["accuracy"]
    assert accuracy.value == pytest.approx(0.8)
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low < 0.8 < accuracy.high
    assert found.confusion is not None
    assert sum(map(sum, found.confusion.counts)) == 60
    assert sum(row.support for row in found.per_label) == 60
    slices = {(part.column, part.value): part for part in found.slices}
    assert slices["channel", "web"].metrics["accuracy"].value == 0
    assert slices["channel", "web"].worse
    assert not slices["channel", "mail"].worse
    assert slices["language", "en"].rows == 60
    assert {example.source_row % 5 for example in found.hardest[:12]} == {0}
    assert found.hardest[0].loss >= found.hardest[1].loss
    assert found.balance.languages == {"en": 60}
    assert found.balance.language_column == "language"
    assert sum(found.balance.lengths.counts) == 60
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert "channel=web" in shown
    html = (tmp_path / "report/report.html").read_text()
    assert "Hardest rows" in html
    assert "<svg" in html


def test_the_same_command_finds_the_same_and_leaves_two_files_whole(
    bert: Path, labelled: Path, tmp_path: Path
) -> None:
    flags = ("--model", bert, "--input", labelled, "--label_column", "category", "--audit")
    first = run(tmp_path / "a", *flags)
    second = run(tmp_path / "a", *flags)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"evaluation.json", "report.html"}
    assert first.model_copy(update={"created_at": ""}) == second.model_copy(
        update={"created_at": ""}
    )
    assert first.audit is not None
    assert first.audit.rows == 60
    assert first.audit.rows_without_terms == 30
    assert first.audit.axes[0].rows_with_terms == 30
    assert first.audit.pairs[0].polarity_shift is not None


def test_a_report_can_go_to_a_bucket(
    bert: Path, labelled: Path, new_gs_output: Callable[[], str]
) -> None:
    output = new_gs_output()
    flags = ["--model", bert, "--input", labelled, "--label_column", "category"]
    assert main([str(flag) for flag in [*flags, "--replicates", "100", "--output", output]]) == 0
    storage = open_storage(output)
    found = Evaluation.model_validate_json(storage.read("evaluation.json") or b"")
    assert found.rows.evaluated == 60
    assert (storage.read("report.html") or b"").startswith(b"<!doctype html>")


def test_what_is_found_does_not_depend_on_how_the_rows_are_sliced(
    bert: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--model", bert, "--input", labelled, "--label_column", "category", "--audit")
    flags = (*flags, "--slices", "channel", "--compare", "sentiment-small-en")
    whole = run(tmp_path / "a", *flags)
    monkeypatch.setattr(evaluation_data, "SLICE_BYTES", 300)
    sliced = run(tmp_path / "b", *flags)
    assert sliced.confusion == whole.confusion
    assert sliced.slices == whole.slices
    assert [each.doc_id for each in sliced.hardest] == [each.doc_id for each in whole.hardest]
    assert sliced.comparison == whole.comparison
    assert sliced.audit is not None
    assert whole.audit is not None
    assert sliced.audit.variants == whole.audit.variants
    assert sliced.balance == whole.balance


def test_two_models_are_compared_on_the_same_rows_whatever_the_order_of_their_labels(
    bert: Path, make_bert: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    flags = ("--model", bert, "--input", labelled, "--label_column", "category")
    other = make_bert(("positive", "negative", "neutral"), seed=7)
    found = run(tmp_path / "a", *flags, "--compare", other).comparison
    assert found is not None
    truth = [row["category"] for row in csv.DictReader(labelled.open())]
    given = answers(other, TEXTS).argmax(axis=1)
    names = ("positive", "negative", "neutral")
    expected = np.mean([names[g] == t for g, t in zip(given, truth, strict=True)])
    accuracy = next(each for each in found.differences if each.metric == "accuracy")
    assert accuracy.other == pytest.approx(expected)
    assert accuracy.test == "mcnemar"
    assert "better than" in found.verdict
    same = run(tmp_path / "b", *flags, "--compare", bert).comparison
    assert same is not None
    assert (same.only_model_right, same.only_other_right) == (0, 0)
    assert "are equal" in same.verdict


def test_a_model_is_let_through_the_gate_by_what_its_evaluation_found(
    bert: Path, make_bert: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    settings = {"input": (str(labelled),), "label_column": "category", "replicates": 100}
    found = {
        names: measure(
            EvaluateConfig(model=str(names[0]), compare=names[1], output="unused", **settings)
        )
        for other in [str(make_bert(seed=7))]
        for names in ((str(bert), other), (other, str(bert)), (str(bert), None))
    }
    better, worse, alone = found.values()
    few = {"minimum_rows": 1}
    assert judge(better, GateConfig(minimum=0.75, **few)).passed
    assert not judge(better, GateConfig(minimum=0.85, **few)).passed
    assert "200 are needed" in judge(better, GateConfig(minimum=0.75)).reason
    blocked = judge(worse, GateConfig(metric="macro_f1", minimum=0, **few))
    assert not blocked.passed
    assert "against production's" in blocked.reason
    assert judge(worse, GateConfig(minimum=0, max_fall=1.0, promote="not_worse", **few)).passed
    assert "nothing to compare it with" in judge(alone, GateConfig(minimum=0, **few)).reason
    with pytest.raises(ConfigError, match=r"gate.metric: 'spearman' is none of accuracy"):
        judge(better, GateConfig(metric="spearman"))


def test_rows_that_a_model_was_trained_on_are_told_or_left_out(
    bert: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(bert, model)
    seen = [text.upper().replace(" ", "  ") for text in TEXTS[:20]]
    (model / TRAINED_ROWS).write_bytes(trained_rows_bytes(map(content_key, seen)))
    flags = ("--model", model, "--input", labelled, "--label_column", "category")
    found = run(tmp_path / "report", *flags)
    assert (found.rows.evaluated, found.rows.trained_on) == (60, 20)
    assert "warning: 20 rows have a text of a model's training" in capsys.readouterr().err
    config = EvaluateConfig(
        model=str(bert),  # the other model's training counts as well
        compare=str(model),
        input=(str(labelled),),
        label_column="category",
        output="unused",
        replicates=100,
    )
    fair = measure(config, leave_out_trained=True)
    assert (fair.rows.read, fair.rows.evaluated, fair.rows.trained_on) == (60, 40, 20)
    (model / TRAINED_ROWS).write_bytes(trained_rows_bytes(map(content_key, TEXTS)))
    with pytest.raises(InputError, match="of 60 rows none is left"):
        measure(config, leave_out_trained=True)


def test_several_labels_come_as_numbers_names_or_lists(
    make_bert: Callable[..., Path], tmp_path: Path
) -> None:
    names = ("joy", "anger", "fear")
    model = make_bert(names, problem_type="multi_label_classification", seed=3)
    given = answers(model, TEXTS) >= 0
    numbers = [[int(i) for i in np.flatnonzero(row)] for row in given]
    tsv = tmp_path / "dev.tsv"
    lines = [
        f"{t}\t{','.join(map(str, n))}\tx{i}"
        for i, (t, n) in enumerate(zip(TEXTS, numbers, strict=True))
        if n
    ]
    tsv.write_text("\n".join(lines) + "\n")
    rows = {"text": TEXTS, "labels": [[names[i] for i in each] for each in numbers]}
    pq.write_table(pa.table(rows), tmp_path / "dev.parquet")
    label_names = tmp_path / "names.txt"
    label_names.write_text("anger\nfear\njoy\n")
    renumbered = tmp_path / "renumbered.jsonl"
    order = {"anger": 0, "fear": 1, "joy": 2}
    renumbered.write_text(
        "".join(
            json.dumps({"text": t, "labels": [order[names[i]] for i in each]}) + "\n"
            for t, each in zip(TEXTS, numbers, strict=True)
        )
    )
    base = ("--model", model, "--label_column", "labels")
    headerless = ("--column_names", "text", "labels", "id", "--label_separator", ",")
    found = [
        run(tmp_path / "a", *base, "--input", tsv, *headerless),
        run(tmp_path / "b", *base, "--input", tmp_path / "dev.parquet"),
        run(tmp_path / "c", *base, "--input", renumbered, "--label_names", label_names),
    ]
    for each in found:
        assert each.metrics["accuracy"].value == 1
        assert each.confusion is None
        assert each.calibration
        assert 0 < (each.calibration_error_by_chance or 0) < 0.1
    assert found[1].rows.evaluated == 60
    assert found[1].balance.labels == dict(zip(names, given.sum(axis=0).tolist(), strict=True))


def test_numbers_that_are_the_names_of_labels_are_never_places(
    make_bert: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 is no star of a model of 1 to 3; a whole number may be a float, as Pandas writes it."""
    model = make_bert(("1", "2", "3"))
    dev = tmp_path / "dev.parquet"
    pq.write_table(pa.table({"text": ["i love it", "i hate it"], "label": [3.0, 1.0]}), dev)
    flags = ["--model", model, "--label_column", "label"]
    found = run(tmp_path / "report", *flags, "--input", dev)
    assert found.balance.labels == {"1": 1, "2": 0, "3": 1}
    flags += ["--input", tmp_path / "zero.csv", "--output", tmp_path / "other"]
    (tmp_path / "zero.csv").write_text("text,label\ni hate it,0\n")
    assert main([str(flag) for flag in flags]) == 2
    assert "has labels that the model has not: '0'" in capsys.readouterr().err


def test_a_regression_is_measured_by_its_errors(
    make_bert: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_bert(("score",), problem_type="regression", num_labels=1)
    values = answers(model, TEXTS)[:, 0]
    shifted = values + np.where(np.arange(len(TEXTS)) % 2, 0.5, -0.5)
    rows = [[t, f"{v:.9g}"] for t, v in zip(TEXTS, shifted, strict=True)]
    file = write_csv(tmp_path / "dev.csv", rows, ["text", "rating"])
    flags = ("--model", model, "--input", file, "--label_column", "rating", "--audit")
    found = run(tmp_path / "report", *flags, "--compare", model, page=True)
    assert found.metrics["mean_absolute_error"].value == pytest.approx(0.5, abs=1e-4)
    assert found.metrics["root_mean_squared_error"].value == pytest.approx(0.5, abs=1e-4)
    expected = np.corrcoef(values, shifted)[0, 1]
    assert found.metrics["pearson"].value == pytest.approx(expected, abs=1e-4)
    assert (found.per_label, found.confusion, found.calibration) == ([], None, [])
    assert found.calibration_error_by_chance is None
    assert len(found.balance.labels) == 10
    assert (tmp_path / "report/report.html").exists()


def test_pairs_are_read_as_the_model_reads_them(
    make_bert: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_bert(("no", "yes"), seed=5)
    seconds = [text.replace("the", "no") for text in reversed(TEXTS)]
    given = answers(model, TEXTS, seconds).argmax(axis=1)
    rows = [[a, b, ("no", "yes")[g]] for a, b, g in zip(TEXTS, seconds, given, strict=True)]
    file = write_csv(tmp_path / "dev.csv", rows, ["text", "reply", "label"])
    flags = ("--model", model, "--input", file, "--label_column", "label", "--audit")
    found = run(tmp_path / "report", *flags, "--text_pair_column", "reply")
    assert found.metrics["accuracy"].value == 1
    assert found.audit is not None
    assert found.audit.rows_without_terms < 60
    assert all("\n" in example.text for example in (*found.hardest, *found.audit.examples))


def test_rare_values_of_a_slice_are_put_together(bert: Path, tmp_path: Path) -> None:
    rows = [[text, "neutral", i // 2 if i < 8 else None] for i, text in enumerate(TEXTS)]
    rows += [[f"{text} {i}", "neutral", f"user {i}"] for i, text in enumerate(TEXTS)]
    file = write_csv(tmp_path / "dev.csv", rows, ["text", "label", "user"])
    flags = ("--model", bert, "--input", file, "--label_column", "label", "--slices", "user")
    found = run(tmp_path / "report", *flags, page=True)
    assert len(found.slices) == 31
    assert sum(part.rows for part in found.slices) == 120
    assert found.slices[-1].merged_values == 65 - 30
    html = (tmp_path / "report/report.html").read_text()
    assert "35 rarer values" in html


def test_rows_without_label_are_left_out_and_counted_where_that_is_allowed(
    bert: Path, tmp_path: Path
) -> None:
    rows = [[text, "" if i == 3 else "neutral"] for i, text in enumerate(TEXTS)]
    rows[7][0] = " "
    file = write_csv(tmp_path / "dev.csv", rows, ["text", "label"])
    flags = ("--model", bert, "--input", file, "--label_column", "label")
    found = run(tmp_path / "report", *flags, "--max_reject_rate", "0.1")
    assert (found.rows.read, found.rows.evaluated, found.rows.rejected) == (60, 58, 2)
    assert found.rows.rejects_by_reason == {"empty_text": 1, "no_label": 1}


def bad(tmp_path: Path, text: str, *flags: object, name: str = "dev.csv") -> list[object]:
    file = tmp_path / name
    file.write_text(text)
    return ["--input", file, "--label_column", "label", *flags]


GOOD = "text,label\ni love it,positive\ni hate it,negative\n"


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("text,label\na,happy\n", [], r"column label has labels that the model has not: 'happy'"),
        ("text,label\na,happy\n", [], r"the first stands at .*dev\.csv#0.*negative, neutral"),
        ("text,label\na,postive\n", [], r"did you mean 'positive'\?"),
        ('text,label\na,"positive,neutral"\n', [], r"--label_separator parts them"),
        ("text,label\na,7\n", [], r"has not: '7'"),
        ("text,label\na,positive\nb,\n", [], r"1 of 2 rows cannot be used.*#1: there is no label"),
        ("text,label\na,\n", ["--max_reject_rate", "1"], r"there is not one usable row in 1"),
        ("text,label\n", [], r"there is not one row"),
        ("text,labl\na,b\n", [], r"no file has a column 'label' \(--label_column\); did you mean"),
        (GOOD, ["--slices", "chanel"], r"no file has a column 'chanel' \(--slices\)"),
        (GOOD, ["--language_column", "lang"], r"'lang' \(--language_column\)"),
        (GOOD, ["--text_column", "body"], r"no file has a column 'body' \(--text_column\)"),
        (GOOD, ["--text_column", "label"], r"cannot be both text and label"),
        (GOOD, ["--label_names", "/nowhere"], r"--label_names /nowhere cannot be read"),
        (GOOD, ["--audit_terms", "x.yaml"], r"--audit_terms needs --audit"),
        (GOOD, ["--audit", "--audit_terms", "/no.yaml"], r"--audit_terms /no\.yaml: cannot be"),
        (GOOD, ["--max_length", "999"], r"reads 64 tokens at most"),
        (GOOD, ["--runner", "DirectRunner"], r"unknown flag --runner"),
        (GOOD, ["--model", "/nowhere"], r"model /nowhere: there is no such folder"),
        (GOOD, ["--output", "s3://bucket/x"], r"only local folders and gs://"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    bert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    flags: list[str],
    message: str,
) -> None:
    output = tmp_path / "report"
    given = ["--model", bert, "--output", output, *bad(tmp_path, text, *flags)]
    assert main([str(flag) for flag in given]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not output.exists()


def test_models_that_cannot_be_measured_are_told(
    bert: Path,
    make_bert: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import BertModel

    headless = tmp_path / "headless"
    BertModel.from_pretrained(bert).save_pretrained(headless)
    base = ["--output", tmp_path / "report", *bad(tmp_path, GOOD)]
    for flags, message in (
        (["--model", headless], r"has no sequence-classification head"),
        (["--model", bert, "--compare", make_bert(("a", "b"))], r"--compare .* has other labels"),
        (
            ["--model", bert, "--compare", make_bert(problem_type="multi_label_classification")],
            r"is a multi_label_classification model",
        ),
        (["--model", bert, "--label_names", tmp_path / "dev.csv"], r"none of the model's labels"),
    ):
        assert main([str(flag) for flag in [*flags, *base]]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_plain_text_has_no_labels(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", bert, "--output", tmp_path / "o", *bad(tmp_path, "a\n", name="dev.txt")]
    assert main([str(flag) for flag in flags]) == 2
    assert "is plain text, which has no labels" in capsys.readouterr().err


def test_without_the_extra_the_json_is_written_and_the_page_is_told_to_lack(
    bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lacking(**settings: object) -> None:
        raise pages.MissingExtra("jinja2 is not installed; pip install 'beam-bert[report]'")

    monkeypatch.setattr(pages, "_environment", lacking)
    run(tmp_path / "report", "--model", bert, *bad(tmp_path, GOOD), page=True)
    assert "no report.html: jinja2 is not installed" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["evaluation.json"]


def test_labels_that_would_steer_a_terminal_or_a_page_stay_text(
    make_bert: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = ("[red]x[/red]", "\x1b[31m<script>alert(1)</script>", "$\\frac{")
    model = make_bert(hostile)
    rows = [[f"<img src=x onerror=alert(1)> {t}", hostile[i % 3]] for i, t in enumerate(TEXTS)]
    file = write_csv(tmp_path / "dev.csv", rows, ["text", "label"])
    run(
        tmp_path / "report", "--model", model, "--input", file, "--label_column", "label", page=True
    )
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert "\x1b[31m" not in shown
    html = (tmp_path / "report/report.html").read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_a_histogram_of_lengths_holds_every_row() -> None:
    for tokens in ([5], [5, 5, 5], [1, 2], [*range(1, 400), 100_000]):
        found = lengths(np.array(tokens), 0)
        assert sum(found.counts) == len(tokens)
        assert len(found.edges) == len(found.counts) + 1
        assert found.quantiles["max"] == max(tokens)


def test_what_was_trained_on_one_spelling_of_labels_is_evaluated_on_another(
    finetune: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, numbers = labelled_rows(90), {"bad": 1, "fine": 2, "good": 3}
    train = write_csv(
        tmp_path / "a.csv", [[t, f"{numbers[n]}.0"] for t, n in rows], ["text", "label"]
    )
    model = finetune("--train", str(train), "--epochs", "1")
    assert "3 labels: 1, 2, 3, numbers" in capsys.readouterr().err
    dev = tmp_path / "dev.jsonl"
    lines = [json.dumps({"text": t, "label": numbers[n]}) for t, n in rows[:30]]
    dev.write_text("\n".join(lines))
    found = run(tmp_path / "report", "--model", model, "--input", dev, "--label_column", "label")
    names = [str(numbers[name]) for _, name in rows[:30]]
    assert found.balance.labels == {label: names.count(label) for label in ("1", "2", "3")}
    assert "3 labels: 1, 2, 3, numbers" in capsys.readouterr().err


def test_a_column_a_label_is_read_by_both_jobs(
    finetune: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["bad", "good"]
    rows = [[t, *(int(name == label) for label in labels)] for t, name in labelled_rows(90)]
    file = write_csv(tmp_path / "a.csv", rows, ["text", *labels])
    flags = ("--label_columns", *labels)
    model = finetune("--train", str(file), "--epochs", "1", *flags)
    assert "2 labels: bad, good, vectors of 0 and 1" in capsys.readouterr().err
    found = run(tmp_path / "report", "--model", model, "--input", file, *flags)
    assert found.problem_type == "multi_label_classification"
    assert found.balance.labels == {
        label: sum(row[1 + place] for row in rows) for place, label in enumerate(labels)
    }
    both = ["--model", model, "--input", file, "--label_column", "bad", *flags, "--output", "x"]
    assert main([str(flag) for flag in both]) == 2
    assert "--label_column and --label_columns: give one of the two" in capsys.readouterr().err
