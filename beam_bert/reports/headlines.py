"""The first sentence of a page: what came out, and where to look."""

from __future__ import annotations

from beam_bert.reports.evaluation import Evaluation, LabelResult
from beam_bert.reports.wording import metric_text, name_text, share_text
from beam_bert.sinks.manifest import Manifest

FEWEST_ROWS = 10  # of a label or slice, to say anything of it


def evaluation_headline(e: Evaluation) -> str:
    """`80.1 % (77.5 to 83.1) right. Weakest: neutral, F1 0.52; 72 of 132 rows go elsewhere.`"""
    sentences = []
    accuracy = e.metrics.get("accuracy")
    if accuracy is not None and e.confusion is not None:
        sentences.append(f"{share_text(accuracy)} right.")
    else:
        main = e.metrics[e.main_metric]
        name = name_text(e.main_metric)
        sentences.append(f"{name[:1].upper()}{name[1:]} {metric_text(main)}.")
    enough = [label for label in e.per_label if label.support >= FEWEST_ROWS]
    if len(enough) > 1:
        sentences.append(_weakest(e, min(enough, key=lambda label: label.f1.value)))
    worse = [s for s in e.slices if s.worse and s.rows >= FEWEST_ROWS]
    if worse:
        named = ", ".join(f"{s.column} = {s.value}" for s in worse[:3])
        sentences.append(f"Worse than the whole: {named}.")
    return " ".join(sentences)


def _weakest(e: Evaluation, label: LabelResult) -> str:
    text = f"Weakest: {label.label}, F1 {label.f1.value:.2f}"
    if e.confusion is None or label.label not in e.confusion.labels:
        return f"{text}."
    place = e.confusion.labels.index(label.label)
    row = e.confusion.counts[place]
    elsewhere = {n: count for n, count in enumerate(row) if n != place and count}
    if not elsewhere:
        return f"{text}."
    most = e.confusion.labels[max(elsewhere, key=lambda n: elsewhere[n])]
    return (
        f"{text}; {sum(elsewhere.values()):,} of its {sum(row):,} rows go elsewhere, "
        f"most to {most}."
    )


def run_headline(m: Manifest) -> str:
    """`1,012 rows of 1 file: 1,000 predicted, 12 rejected (1.2 %), most for empty_text.`"""
    counts = m.counts
    files = "1 file" if len(m.inputs) == 1 else f"{len(m.inputs):,} files"
    text = f"{counts.rows_read:,} rows of {files}: {counts.rows_predicted:,} predicted, "
    if not counts.rows_rejected:
        return f"{text}none rejected."
    reason = max(counts.rejects_by_reason, key=lambda name: counts.rejects_by_reason[name])
    share = counts.rows_rejected / max(counts.rows_read, 1)
    return f"{text}{counts.rows_rejected:,} rejected ({share:.1%}), most for {reason}."
