"""The networks and the training loop of the sentiment model: teacher, student, batches.

The teacher is the MiniLM encoder with mean pooling and a linear head. The student is a plain
`BertForSequenceClassification` that learns the teacher's answers (Hinton, Vinyals and Dean,
Distilling the Knowledge in a Neural Network, 2015) and, in training only, the teacher's pooled
vector (as in Jiao et al., TinyBERT, 2020).
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from tools.sentiment_model.data import LABELS
from tools.sentiment_model.tokenizer import (
    build_tokenizer,
    emoji_name_pieces,
)

logger = logging.getLogger(__name__)

Batch = list[int]  # places of the texts that run together
Forward = Callable[[Tensor, Tensor], tuple[Tensor, ...]]  # ids and mask [batch, tokens] -> outputs


@dataclass(frozen=True)
class Stage:
    """One stretch of training, with an optimizer of its own.

    The learning rate warms up to `learning_rate` and falls linearly to `final_share` of it.
    `shares` says which share of a source's texts each epoch reads, where it is not all;
    `most_steps` ends an epoch early.
    """

    epochs: int
    learning_rate: float
    final_share: float = 0.0
    warmup: float = 0.06
    batch_tokens: int = 2048
    weight_decay: float = 0.01
    shares: Mapping[str, float] = field(default_factory=dict)
    most_steps: int | None = None

    def plan_epoch(
        self, lengths: Sequence[int], sources: Sequence[str], generator: random.Random
    ) -> list[Batch]:
        """Choose this epoch's texts and group them."""
        used = [
            place
            for place, source in enumerate(sources)
            if source not in self.shares or generator.random() < self.shares[source]
        ]
        plan = plan_batches([lengths[place] for place in used], self.batch_tokens, generator)
        return [[used[place] for place in batch] for batch in plan[: self.most_steps]]


class Teacher(nn.Module):
    """MiniLM's encoder, mean pooling, and a linear head over three classes."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, len(LABELS))

    def forward(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Take ids and mask [batch, tokens]; give logits [batch, 3], pooled [batch, hidden]."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return self.head(pooled), pooled


def load_encoder(folder: Path, pieces: Sequence[str], vocabulary: Sequence[str]) -> BertModel:
    """Load a BERT encoder and give it the embeddings of another list of pieces.

    A piece that the encoder's vocabulary lacks (an emoji) starts from the mean of the words of its
    Unicode name.
    """
    encoder = BertModel.from_pretrained(folder, add_pooling_layer=False, hidden_dropout_prob=0.1)
    old = encoder.embeddings.word_embeddings.weight.detach()
    places = {piece: place for place, piece in enumerate(vocabulary)}
    tokenizer = build_tokenizer(vocabulary)
    rows = [
        old[places[piece]] if piece in places else old[emoji_name_pieces(piece, tokenizer)].mean(0)
        for piece in pieces
    ]
    encoder.embeddings.word_embeddings = nn.Embedding.from_pretrained(
        torch.stack(rows), freeze=False, padding_idx=0
    )
    encoder.config.vocab_size = len(pieces)
    return encoder


def save_teacher(teacher: Teacher, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the teacher where `load_teacher` finds it. It is a tool, not a Hugging Face model."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher.encoder.config.save_pretrained(folder)
    save_file(teacher.state_dict(), folder / "teacher.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))


def load_teacher(folder: Path) -> tuple[Teacher, Tokenizer]:
    """Read what `save_teacher` wrote."""
    config = BertConfig.from_pretrained(folder)
    teacher = Teacher(BertModel(config, add_pooling_layer=False))
    teacher.load_state_dict(load_file(folder / "teacher.safetensors"))
    return teacher.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None) -> list[list[int]]:
    """Turn texts to ids with [CLS] and [SEP], cut to `max_length`, or whole."""
    if max_length is not None:
        tokenizer.enable_truncation(max_length)
    encodings = tokenizer.encode_batch_fast(list(texts))
    tokenizer.no_truncation()
    return [encoding.ids for encoding in encodings]


def plan_batches(
    lengths: Sequence[int], batch_tokens: int, generator: random.Random | None
) -> list[Batch]:
    """Group texts of like length into batches of at most `batch_tokens` padded tokens.

    With a generator the texts are shuffled and sorted only within chunks of some 50 batches, so
    that epochs differ; without one the plan is sorted as a whole.
    """
    order = list(range(len(lengths)))
    chunk = len(order)
    if generator is not None:
        generator.shuffle(order)
        chunk = max(1, 50 * batch_tokens * len(order) // max(1, sum(lengths)))
    batches: list[Batch] = []
    for start in range(0, len(order), chunk):
        batch: Batch = []
        for place in sorted(order[start : start + chunk], key=lengths.__getitem__):
            if batch and lengths[place] * (len(batch) + 1) > batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(place)
        batches.append(batch)
    if generator is not None:
        generator.shuffle(batches)
    return batches


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lay rows of ids into one [batch, longest] tensor, with its mask."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids, mask


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy [batch] against probabilities."""
    return -(target * functional.log_softmax(logits, dim=-1)).sum(-1)


def run_stage(
    stage: Stage,
    parameters: Sequence[nn.Parameter],
    epochs: Sequence[Sequence[Batch]],
    batch_loss: Callable[[Batch], Tensor],
) -> None:
    """Train with AdamW over the planned batches."""
    steps = sum(map(len, epochs))
    warmup = max(1, int(stage.warmup * steps))
    optimizer = torch.optim.AdamW(
        _decay_groups(parameters, stage.weight_decay), lr=stage.learning_rate, fused=True
    )

    def rate(step: int) -> float:
        left = (steps - step) / (steps - warmup + 1)
        return min((step + 1) / warmup, stage.final_share + (1 - stage.final_share) * left)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    started, recent = time.monotonic(), 0.0
    for done, batch in enumerate((batch for epoch in epochs for batch in epoch), start=1):
        loss = batch_loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        recent = 0.98 * recent + 0.02 * loss.item() if done > 1 else loss.item()
        if done % 25 == 0:
            left = (time.monotonic() - started) / done * (steps - done)
            logger.info("step %d of %d, loss %.4f, %.0f s left", done, steps, recent, left)


def _decay_groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, object]]:
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


@torch.inference_mode()
def predict(forward: Forward, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Run tokenized texts in sorted batches; give each output as one array [texts, ...]."""
    outputs: list[list[np.ndarray]] = [[] for _ in rows]
    for batch in plan_batches([len(row) for row in rows], 4096, None):
        results = forward(*pad([rows[place] for place in batch]))
        for index, place in enumerate(batch):
            outputs[place] = [result[index].float().numpy() for result in results]
    return [np.stack(column) for column in zip(*outputs, strict=True)]
