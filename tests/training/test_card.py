from __future__ import annotations

from beam_bert.labelled.provenance import SourceRecord
from beam_bert.training.card import Card, render

STEERING = "\x1b[2J\x9b\u202e\u2066\u2028\ud800"


def test_what_would_steer_a_terminal_or_turn_a_line_stands_in_a_card_as_escapes() -> None:
    source = SourceRecord(f"a{STEERING}.csv", "train", 1, "0", STEERING, STEERING, None, True)
    card = Card(
        name=f"a{STEERING}",
        summary=STEERING,
        base=STEERING,
        base_model=STEERING,
        base_licence=STEERING,
        task="text-classification",
        teacher=STEERING,
        labels=(STEERING, "猫", "two\nlines\r|"),
        sources=[source],
        rows={STEERING: 1},
        notes=[STEERING],
        metrics={STEERING: 1.0},
        calibration={},
        settings={"labels": [STEERING]},
        versions={},
    )
    text = render(card)
    assert not set(STEERING) & set(text) - set("[2J")
    assert r"# a\x1b[2J\x9b\u202e\u2066\u2028\ud800" in text and "猫" in text
    assert r"猫, two\nlines\r|" in text
    text.encode()
