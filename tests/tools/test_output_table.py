"""docs/output.md says what the rules say, and what the readers were seen to see."""

import json

from beam_bert.sinks.table_types import file_type
from beam_bert.sources.fitting import plain_type
from tests.readers.carried import CARRIED
from tools.output_table import PAGE, page
from tools.readers_table import RECORD


def test_the_page_has_the_rules_and_the_record_as_they_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tools.output_table"


def test_the_record_is_of_the_types_that_are_written_now() -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["columns"]
    now = {
        name: str(file_type(plain_type(each.type), finer=name == "naive_finer"))
        for name, each in CARRIED.items()
    }
    # Parquet has its own name for what is in a list.
    now = {name: type_.replace("item: ", "element: ") for name, type_ in now.items()}
    assert {name: each["file"] for name, each in recorded.items()} == now, (
        "record what readers see anew: see tests/readers/test_every_reader.py"
    )
