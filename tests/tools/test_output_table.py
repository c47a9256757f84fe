"""docs/output.md says what the rules say."""

from tools.output_table import PAGE, page


def test_the_page_has_the_rules_as_they_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tools.output_table"
