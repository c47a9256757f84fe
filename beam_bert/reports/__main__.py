"""The JSON schema of evaluation.json.

python -m beam_bert.reports          of `pipelines.evaluate`
python -m beam_bert.reports answer   of `pipelines.evaluate --task answer`
"""

from __future__ import annotations

import json
import sys

from beam_bert.reports.answering import AnswerEvaluation
from beam_bert.reports.evaluation import Evaluation

if __name__ == "__main__":
    document = AnswerEvaluation if sys.argv[1:] == ["answer"] else Evaluation
    print(json.dumps(document.model_json_schema(), indent=1))
