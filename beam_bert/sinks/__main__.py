"""`python -m beam_bert.sinks`: the JSON schemas of manifest.json and failure.json, for the docs."""

import json

from beam_bert.sinks.manifest import Failure, Manifest

if __name__ == "__main__":
    schemas = {
        "manifest.json": Manifest.model_json_schema(by_alias=True),
        "failure.json": Failure.model_json_schema(),
    }
    print(json.dumps(schemas, indent=2))
