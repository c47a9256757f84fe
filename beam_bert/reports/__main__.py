"""`python -m beam_bert.reports`: the JSON schema of evaluation.json."""

from __future__ import annotations

import json

from beam_bert.reports.evaluation import Evaluation

if __name__ == "__main__":
    print(json.dumps(Evaluation.model_json_schema(), indent=1))
