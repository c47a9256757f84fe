"""The engine: BERT encoders over sequences of mixed length, packed, on a CPU or a GPU.

    model = load_classifier("path/to/checkpoint")
    logits = model.logits(input_ids, offsets)  # numpy in, numpy out

It knows nothing of Beam, files of text or tokenizers. Read it in the order of the flow: `families`
and `config` (what a checkpoint is), `checkpoint` (its tensors), `plan` and `packing` (which
sequences ride together), `model` with `attention`, `linear`, `quantized` and `precision` (the
forward), `classifier`; `agreement` says whether a faster precision still says the same.
"""

from beam_bert.encoder.agreement import LEAST_AGREEMENT, agreement
from beam_bert.encoder.classifier import SequenceClassifier, load_classifier
from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.model import Encoder

__all__ = [
    "LEAST_AGREEMENT",
    "Encoder",
    "EncoderConfig",
    "SequenceClassifier",
    "agreement",
    "load_classifier",
]
