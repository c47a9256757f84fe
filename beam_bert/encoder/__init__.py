"""The engine: BERT encoders over sequences of mixed length, packed, on a CPU or a GPU.

    model = load_classifier("path/to/checkpoint")
    logits = model.logits(input_ids, offsets)  # numpy in, numpy out

It knows nothing of Beam, files of text or tokenizers. Read it in the order of the flow: `families`
and `config` (what a checkpoint is), `checkpoint` (its tensors), `plan` and `packing` (which
sequences ride together), `model` with `attention`, `linear`, `int8` with `int8_rows`,
`fp8` and `precision` (the forward), `engine`, which runs all that, and its two heads, `classifier`
and `answering` with `spans`; `replicas` keeps several GPUs busy.
"""

from beam_bert.encoder.answering import SpanFinder, load_span_finder
from beam_bert.encoder.classifier import SequenceClassifier, load_classifier
from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.engine import PackedModel
from beam_bert.encoder.model import Encoder
from beam_bert.encoder.spans import Spans

__all__ = [
    "Encoder",
    "EncoderConfig",
    "PackedModel",
    "SequenceClassifier",
    "SpanFinder",
    "Spans",
    "load_classifier",
    "load_span_finder",
]
