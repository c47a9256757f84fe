"""Pages stand alone, draw what they are given, and keep what comes from documents text."""

from __future__ import annotations

import re
import sys
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from beam_bert.models.records import AliasMove
from beam_bert.reports import answering, figures, headlines, pages
from beam_bert.reports import evaluation as report
from beam_bert.reports.answering import AnswerEvaluation
from beam_bert.reports.evaluation import Evaluation
from beam_bert.reports.figures import MissingExtra
from beam_bert.reports.night import run_lines
from beam_bert.reports.pages import (
    Examples,
    render_answer_evaluation,
    render_evaluation,
    render_failure,
    render_night,
    render_run_report,
)
from beam_bert.reports.wording import metric_text, name_text, share_text
from beam_bert.sinks.manifest import Failure, Manifest
from beam_bert.sinks.records import Counts

STEERING = "\x1b\x07\x9b\u061c\u200f\u202e\u2028\u2066\ufeff"  # terminals, and directions
HOSTILE = f"</td><script>alert('x')</script><img src=http://evil/x>&amp; $\\frac{{ {STEERING}"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects elements, attributes and text of a page; an end tag without its start fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_stands_alone(html: str) -> Page:
    page = Page(html)
    assert page.tags.keys().isdisjoint({"script", "img", "link", "iframe", "object"})
    for name, value in page.attributes:
        assert not name.startswith("on"), name
        # A namespace is a name, not an address that a browser would ask.
        if name == "href":
            assert (value or "").startswith("#"), value
        elif not name.startswith("xmlns"):
            assert "//" not in (value or ""), (name, value)
    assert "url(http" not in html
    assert "@import" not in html
    return page


def evaluation(text: str = "fine") -> Evaluation:
    metric = report.Metric(value=0.5, low=0.4, high=0.6)
    model = report.Model(name=text, version=text, precision="fp32", device="cpu")
    return Evaluation(
        created_at="2026-11-24T00:00:00+00:00",
        model=model,
        problem_type="single_label_classification",
        labels=[text, "other"],
        rows=report.RowTotals(read=12, evaluated=10, rejected=2, rejects_by_reason={text: 2}),
        main_metric="accuracy",
        baseline={"accuracy": 0.4},
        metrics={"accuracy": metric, "macro_f1": metric, "calibration_error": metric},
        replicates=100,
        per_label=[
            report.LabelResult(
                label=label, support=5, given=5, precision=0.5, recall=0.5, f1=metric
            )
            for label in (text, "other")
        ],
        confusion=report.Confusion(labels=[text, "other"], counts=[[3, 2], [2, 3]]),
        calibration=[
            report.CalibrationPoint(low=0.4, high=0.5, count=10, confidence=0.45, right=metric)
        ],
        slices=[
            report.SliceMetrics(
                column=text, value=text, rows=5, metrics={"accuracy": metric}, worse=True
            ),
            report.SliceMetrics(
                column=text, value=None, rows=5, metrics={"accuracy": metric}, worse=False
            ),
        ],
        hardest=[
            report.Example(
                doc_id=text,
                source_file=text,
                source_row=0,
                text=text,
                truth=[text],
                given=[],
                score=0.9,
                loss=2.5,
            )
        ],
        comparison=report.ComparedModels(
            other=model,
            only_model_right=1,
            only_other_right=2,
            verdict=text,
            differences=[
                report.MetricDifference(
                    metric="accuracy",
                    model=0.5,
                    other=0.6,
                    change=metric,
                    at_least=0.4,
                    at_most=0.6,
                    p_value=0.04,
                    test="mcnemar",
                    more_than_chance=True,
                    in_words=text,
                )
            ],
        ),
        audit=report.Audit(
            terms=text,
            change_of=text,
            rows=10,
            rows_without_terms=4,
            rows_not_audited=1,
            variants=8,
            axes=[
                report.AuditAxis(axis=text, rows_with_terms=6, flip_rate=metric, change=metric),
                report.AuditAxis(axis="none", rows_with_terms=0, flip_rate=metric, change=metric),
            ],
            pairs=[
                report.AuditPair(
                    axis=text,
                    source=text,
                    target=text,
                    rows=6,
                    flip_rate=metric,
                    change=metric,
                    polarity_shift=metric,
                )
            ],
            by_term=[
                report.AuditTerm(
                    axis=text, group=text, term=text, rows=6, flip_rate=metric, change=metric
                )
            ],
            examples=[
                report.AuditExample(
                    axis=text,
                    source=text,
                    target=text,
                    doc_id=text,
                    text=text,
                    swapped=text,
                    before=text,
                    after=text,
                    change=0.5,
                )
            ],
        ),
        balance=report.Balance(
            sources={text: 10},
            labels={text: 5, "other": 5},
            imbalance=1.0,
            missing_labels=[text],
            lengths=report.Lengths(
                mean=5.0,
                quantiles={"min": 1, "max": 9},
                edges=[1, 5, 9],
                counts=[4, 6],
                truncated=0,
            ),
            languages={text: 10},
            language_column=text,
        ),
        inputs=[text],
        settings={"model": text, "input": [text], "audit": True, "compare": None},
        versions={"torch": text},
    )


def manifest(text: str = "fine", labels: int = 2) -> Manifest:
    return Manifest.model_validate(
        {
            "run_id": "20261124T000000Z-ab12",
            "run_key": "0" * 16,
            "job": "classify",
            "partition": text,
            "started_at": text,
            "committed_at": "2026-11-24T00:00:00+00:00",
            "counts": {
                "rows_read": 1_012,
                "rows_predicted": 1_000,
                "rows_rejected": 12,
                "rejects_by_reason": {text: 12},
                "label_counts": {f"{text} {i}": i + 1 for i in range(labels)},
            },
            "inputs": [{"path": f"{text}/{i}.csv", "rows": 8, "bytes": 99} for i in range(120)],
            "outputs": [],
            "rejects": [],
            "stats": {
                "tokens": 50_000.0,
                "tokens_read": 52_000.0,
                "windows": 1_100.0,
                "truncated": 3.0,
                "inference_s": 26.0,
                "rows_bf16_cpu": 1_000.0,
            },
            "config": {"model": text, "input": [text], "id_column": None},
            "model": {"name": text, "version": text, "location": text},
            "versions": {"torch": "2.11"},
            "schema": [{"name": text, "type": "string", "nullable": True, "description": text}],
        }
    )


def test_an_evaluation_is_shown_whole_on_a_page_that_stands_alone() -> None:
    page = assert_stands_alone(render_evaluation(evaluation()))
    for heading in ("Labels", "Confusion", "Calibration", "Slices", "Hardest rows", "Bias audit"):
        assert heading in page.text
    assert page.tags["figure"] == 5
    assert "0.5000 (0.400 to 0.600)" in page.text
    assert "2 of 12 rows read could not be used" in page.text
    assert "1 rows beyond --audit_variants were not audited" in page.text


def answer_evaluation(text: str = "fine") -> AnswerEvaluation:
    metric = report.Metric(value=0.5, low=0.4, high=0.6)
    group = answering.GroupScore(questions=7, exact=metric, f1=metric)
    best = answering.BestNullThreshold(threshold=-2.5, value=0.625)
    return AnswerEvaluation(
        created_at="2026-11-24T00:00:00+00:00",
        model=report.Model(name=text, version=text, precision="fp32", device="cpu"),
        definition="auto",
        labels=answering.LabelTotals(
            right=7, mended=1, left_out=2, without_answer=3, blank=4, shown=[text]
        ),
        texts=2,
        windows=30,
        scores=answering.AnswerScores(
            null_threshold=0.0,
            overall=group,
            with_answer=group,
            without_answer=None,
            answered=5,
            best={"exact": best, "f1": best},
            by_word={"who": group},
            by_length={"up to 5": group},
        ),
        replicates=100,
        wrong=[
            answering.WrongAnswer(id=text, question=text, right=[], given=text, f1=0.0, gap=-3.0)
        ],
        inputs=[text],
        settings={"model": text, "input": [text]},
        versions={"torch": "2.11"},
    )


def test_an_evaluation_of_answers_is_shown_whole() -> None:
    page = assert_stands_alone(render_answer_evaluation(answer_evaluation()))
    for text in ("--null_threshold -2.5", "62.5 %", "1 were mended", "(no answer)", "up to 5"):
        assert text in page.text
    assert "that have none" not in page.text
    assert page.tags["svg"] == 1
    found = answer_evaluation()
    assert AnswerEvaluation.model_validate_json(found.to_json()) == found


def test_what_comes_from_documents_stays_text_wherever_it_stands() -> None:
    for html in (
        render_evaluation(evaluation(HOSTILE)),
        render_answer_evaluation(answer_evaluation(HOSTILE)),
        render_run_report(manifest(HOSTILE)),
    ):
        page = assert_stands_alone(html)
        assert "<script>alert('x')</script>" in page.text
        assert r"\x1b\x07\x9b\u061c\u200f\u202e\u2028\u2066\ufeff" in page.text
        assert not set(STEERING) & set(html)
        assert "&amp; $\\frac{" in page.text


def test_the_same_document_gives_the_same_page() -> None:
    assert render_evaluation(evaluation()) == render_evaluation(evaluation())


def test_an_evaluation_without_its_optional_parts_is_a_page_too() -> None:
    bare = evaluation().model_copy(
        update={
            "per_label": [],
            "confusion": None,
            "calibration": [],
            "slices": [],
            "hardest": [],
            "comparison": None,
            "audit": None,
            "metrics": {"spearman": report.Metric(value=0.5)},
            "main_metric": "spearman",
            "problem_type": "regression",
        }
    )
    page = assert_stands_alone(render_evaluation(bare))
    assert "Bias audit" not in page.text
    assert "The data" in page.text


def test_the_document_comes_back_from_its_json() -> None:
    assert Evaluation.model_validate_json(evaluation().to_json()) == evaluation()


def test_every_field_of_the_document_says_what_it_is() -> None:
    schema = Evaluation.model_json_schema()
    answers = AnswerEvaluation.model_json_schema()
    schema["$defs"] |= {**answers["$defs"], "AnswerEvaluation": answers}
    for name, part in {**schema["$defs"], "Evaluation": schema}.items():
        for field, about in part["properties"].items():
            assert about.get("description"), f"{name}.{field} has no description"


def test_a_run_is_shown_by_its_manifest() -> None:
    page = assert_stands_alone(render_run_report(manifest(labels=130)))
    text = re.sub(r"\s+", " ", page.text)
    assert "1,012rows read" in text
    assert "12rows rejected (1.2 %)" in text
    assert "tokens a document, mean50.0" in text
    assert "tokens a second in the model2,000" in text
    assert "documents computed in bf16 on cpu1,000" in text
    assert "20 more are in the manifest" in text
    assert "30 more labels are in the manifest" in text


def test_a_run_over_nothing_is_a_page_too() -> None:
    empty = manifest().model_copy(
        update={"counts": Manifest.model_fields["counts"].annotation(), "stats": {}, "inputs": ()}
    )
    assert "Rejected rows by reason" not in assert_stands_alone(render_run_report(empty)).text


@pytest.mark.parametrize("label", [HOSTILE, "", "猫 и кот", "a" * 500, "$x_{", "]]>", "\ud800"])
def test_any_label_can_be_drawn(label: str) -> None:
    metric = report.Metric(value=0.5, low=0.4, high=0.6)
    confusion = report.Confusion(labels=[label, "b"], counts=[[1, 0], [0, 1]])
    for svg in (
        figures.intervals([label, "b"], [metric, metric], "F1", whole=0.5),
        figures.confusion_heatmap(confusion),
    ):
        ElementTree.fromstring(svg.encode())
        assert "<script" not in svg


def test_of_many_labels_those_with_most_mistakes_are_drawn() -> None:
    counts = [[i if i == j else 0 for j in range(77)] for i in range(77)]
    counts[3][4] = 1
    confusion = report.Confusion(labels=[f"label {i}" for i in range(77)], counts=counts)
    svg = figures.confusion_heatmap(confusion)
    assert ">label 76<" in svg
    assert ">label 3<" in svg
    assert ">label 5<" not in svg


def test_numbers_are_written_alike_on_terminal_and_page() -> None:
    assert metric_text(report.Metric(value=0.93412, low=0.9211, high=0.9456)) == (
        "0.9341 (0.921 to 0.946)"
    )
    assert metric_text(report.Metric(value=0.01, low=-0.02, high=0.04), signed=True) == (
        "+0.0100 (-0.020 to +0.040)"
    )
    assert metric_text(report.Metric(value=1234.5678)) == "1235"
    assert share_text(report.Metric(value=0.044, low=0.027, high=0.069)) == "4.4 % (2.7 to 6.9)"
    assert name_text("macro_f1") == "macro F1"
    assert name_text("some_thing") == "some thing"


def test_the_first_sentence_says_how_good_and_where_it_fails() -> None:
    metric = report.Metric(value=0.801, low=0.775, high=0.831)
    labels = [
        report.LabelResult(
            label=name, support=rows, given=rows, precision=f1, recall=f1,
            f1=report.Metric(value=f1),
        )
        for name, rows, f1 in (("good", 800, 0.9), ("neutral", 132, 0.52), ("odd", 2, 0.0))
    ]  # fmt: skip
    found = evaluation().model_copy(
        update={
            "metrics": {"accuracy": metric},
            "main_metric": "accuracy",
            "per_label": labels,
            "confusion": report.Confusion(
                labels=["good", "neutral", "odd"], counts=[[800, 0, 0], [70, 60, 2], [1, 1, 0]]
            ),
            "slices": [],
        }
    )
    assert headlines.evaluation_headline(found) == (
        "80.1 % (77.5 to 83.1) right. Weakest: neutral, F1 0.52; 72 of its 132 rows go elsewhere, "
        "most to good."
    )


def test_a_run_shows_rows_changed_settings_first_and_where_to_look() -> None:
    examples = Examples(
        columns=["doc_id", "label"],
        predictions=[{"doc_id": HOSTILE, "label": "good", "score": 0.5}],
        rejects=[{"source_file": "a.csv", "source_row": 3, "reason": "empty_text", "message": "x"}],
    )
    made = manifest().model_copy(update={"config": {"top_k": 2, "precision": "auto"}})
    page = assert_stands_alone(render_run_report(made, examples))
    assert "a.csv#3" in page.text
    assert page.text.index("top_k") < page.text.index("settings at their defaults")
    assert page.text.index("settings at their defaults") < page.text.index("precision")
    assert "1,012 rows of" in page.text


def test_a_run_report_needs_no_figure_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "rows read" in render_run_report(manifest())
    with pytest.raises(MissingExtra, match="matplotlib"):
        render_evaluation(evaluation())


def failed(message: str) -> Failure:
    return Failure(
        run_id="r", run_key="k", job="classify", partition="d=1", started_at="a", failed_at="b",
        reason="reject_rate", message=message,
        counts=Counts(rows_read=2, rows_rejected=2, rejects_by_reason={"empty_text": 2}),
        staged_rejects="out/staging/k/rejects",
    )  # fmt: skip


def test_a_failed_run_has_a_page_that_says_why() -> None:
    failure = failed(f"too many {HOSTILE}")
    page = assert_stands_alone(render_failure(failure))
    assert "Nothing was committed: too many" in page.text
    assert "out/staging/k/rejects" in page.text


def test_headings_can_be_jumped_to_and_tables_say_what_their_heads_are_for() -> None:
    page = render_evaluation(evaluation())
    anchors = re.findall(r'<h2 id="([^"]+)"', page)
    assert re.findall(r'<a href="#([^"]+)"', page) == anchors
    assert not re.findall(r"<th(?! scope=)[ >]", page)
    assert page.count('<figure><svg role="img"') == page.count("<figure>")
    assert "prefers-color-scheme: dark" in page


def test_a_tiny_p_value_is_told_as_such() -> None:
    assert pages._p_value(0.00004) == "<0.001"
    assert pages._p_value(0.0213) == "0.021"


def night_fields(**values: object) -> dict[str, object]:
    fields = {"date": "2026-11-24", "status": "done", "trained": None, "candidate": None}
    fields |= {"decision": "off", "reason": "", "version": None, "rows_read": 0}
    fields |= {"rows_predicted": 0, "rows_rejected": 0, "manifest": None, "seconds": 1.0}
    return fields | {"warnings": (), "errors": ()} | values


def night_page(text: str) -> str:
    move = {"number": 1, "id": "1", "at": "2026-11-24T00:00:00Z", "by": text, "action": "note"}
    return render_night(
        night_fields(reason=text, errors=(text,), warnings=(text,), decision="kept"),
        store=text,
        links=[("evaluation", "report.html")],
        moves=[AliasMove.model_validate({**move, "reason": text, "aliases": {}})],
        runs=[manifest(labels=3), failed(text)],
    )


def test_a_nights_page_keeps_text_text() -> None:
    page = Page(night_page(HOSTILE))
    assert page.tags.keys().isdisjoint({"script", "img", "link", "iframe", "object"})
    assert "alert('x')" in page.text and not set(STEERING) & set(page.text)


@pytest.mark.parametrize(
    ("fields", "headline"),
    [
        ({"decision": "promoted", "reason": "0.9 against 0.8"}, "PROMOTED: 0.9 against 0.8"),
        ({"decision": "kept", "reason": "0.7 against 0.8"}, "KEPT: 0.7 against 0.8"),
        ({"decision": "failed", "errors": ("no file",)}, "FAILED: no file"),
        ({"decision": "kept", "reason": "worse", "errors": ("disk full",)}, "KEPT: worse"),
        ({"decision": "current", "errors": ("disk full",)}, "FAILED: disk full"),
        ({"status": "nothing_to_do", "reason": "current"}, "NOTHING TO DO: current"),
    ],
)
def test_a_nights_page_begins_with_what_it_came_to(
    fields: dict[str, object], headline: str
) -> None:
    text = Page(render_night(night_fields(**fields), store="s", links=[], moves=[], runs=[])).text
    assert headline in text
    assert all(error in text for error in fields.get("errors", ()))


def test_a_share_that_moved_by_more_than_chance_and_by_enough_is_marked() -> None:
    def run(positive: int, negative: int, rejected: int = 0) -> Manifest:
        counts = Counts(
            rows_read=positive + negative + rejected,
            rows_predicted=positive + negative,
            rows_rejected=rejected,
            label_counts={"positive": positive, "negative": negative},
        )
        return manifest(labels=1).model_copy(update={"counts": counts})

    def moved(*runs: Manifest) -> list[float | None]:
        return [line.labels["positive"].moved for line in run_lines(runs)]

    usual = run(500, 500)
    assert moved(usual, usual, run(400, 600)) == [None, None, pytest.approx(-0.1)]
    assert moved(usual, run(6, 4)) == [None, None]  # 60 % of ten rows is no surprise
    many = run(500_000, 500_000)
    assert moved(many, run(510_000, 490_000)) == [None, None]  # no chance, and no matter
    assert run_lines([usual, run(400, 400, 200)])[1].rejected.moved == pytest.approx(0.2)
    empty = run(0, 0)
    assert run_lines([empty, usual])[1].labels["positive"].value == 0.5
