"""The student: a small standard BERT, cut out of the teacher.

Instead of starting from noise the student takes every second layer of the teacher, the heads and
feed-forward neurons that matter most, and, where it is narrower, the teacher's main directions
(principal components of its hidden states). Sources: Sanh et al., DistilBERT, 2019 (layers); Michel
et al., Are Sixteen Heads Really Better than One?, 2019 (heads).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tools.sentiment_model.data import LABELS
from tools.sentiment_model.training import Teacher, pad, plan_batches

# tanh is nearly linear up to here: the pooler starts as a plain copy of [CLS].
_POOLER_SCALE = 0.5


@dataclass(frozen=True)
class StudentShape:
    """The student's size; the teacher's `layers` are copied, in this order."""

    hidden_size: int
    intermediate_size: int
    layers: tuple[int, ...]


def student_config(shape: StudentShape, vocab_size: int, teacher: BertConfig) -> BertConfig:
    """Describe the student; heads are as wide as the teacher's."""
    head_size = teacher.hidden_size // teacher.num_attention_heads
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=len(shape.layers),
        num_attention_heads=shape.hidden_size // head_size,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=teacher.max_position_embeddings,
        layer_norm_eps=teacher.layer_norm_eps,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        id2label=dict(enumerate(LABELS)),
        label2id={label: place for place, label in enumerate(LABELS)},
    )


@torch.no_grad()
def cut_student(
    teacher: Teacher,
    shape: StudentShape,
    teacher_vocabulary: Sequence[str],
    pieces: Sequence[str],
    sample: Sequence[Sequence[int]],
) -> BertForSequenceClassification:
    """Make a student from the teacher's weights; `sample` is tokenized text to weigh them by."""
    source = teacher.encoder
    student = BertForSequenceClassification(student_config(shape, len(pieces), source.config))
    states, neurons, heads = _activity(source, sample)
    basis = principal_directions(states, shape.hidden_size)
    target = student.bert

    places = {piece: place for place, piece in enumerate(teacher_vocabulary)}
    rows = [places[piece] for piece in pieces]
    old, new = source.embeddings, target.embeddings
    new.word_embeddings.weight.copy_(old.word_embeddings.weight[rows] @ basis)
    new.position_embeddings.weight.copy_(old.position_embeddings.weight @ basis)
    new.token_type_embeddings.weight.copy_(old.token_type_embeddings.weight @ basis)
    _project_norm(old.LayerNorm, new.LayerNorm, basis)

    head_size = source.config.hidden_size // source.config.num_attention_heads
    for copy, place in zip(target.encoder.layer, shape.layers, strict=True):
        layer = source.encoder.layer[place]
        best = heads[place].topk(target.config.num_attention_heads).indices.sort().values
        kept = (best.unsqueeze(1) * head_size + torch.arange(head_size)).flatten()
        for name in ("query", "key", "value"):
            _project_in(
                getattr(layer.attention.self, name), getattr(copy.attention.self, name), basis, kept
            )
        _project_out(layer.attention.output.dense, copy.attention.output.dense, basis, kept)
        _project_norm(layer.attention.output.LayerNorm, copy.attention.output.LayerNorm, basis)
        kept = neurons[place].topk(shape.intermediate_size).indices.sort().values
        _project_in(layer.intermediate.dense, copy.intermediate.dense, basis, kept)
        _project_out(layer.output.dense, copy.output.dense, basis, kept)
        _project_norm(layer.output.LayerNorm, copy.output.LayerNorm, basis)

    pooler = cast(nn.Linear, target.get_submodule("pooler.dense"))
    pooler.weight.copy_(_POOLER_SCALE * torch.eye(shape.hidden_size))
    pooler.bias.zero_()
    student.classifier.weight.copy_(teacher.head.weight @ basis / _POOLER_SCALE)
    student.classifier.bias.copy_(teacher.head.bias)
    return student


def principal_directions(states: Tensor, size: int) -> Tensor:
    """Give the [hidden, size] directions that hold most of the states' energy; all of them: 1."""
    if size == states.shape[1]:
        return torch.eye(size)
    _, vectors = torch.linalg.eigh(states.T @ states)
    return vectors[:, -size:]


def _activity(
    encoder: BertModel, sample: Sequence[Sequence[int]]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Run the sample; give hidden states [n, hidden], and each layer's weight of neurons and heads.

    A neuron or head weighs the mean size of what it adds to the hidden state.
    """
    neurons = [torch.zeros(encoder.config.intermediate_size) for _ in encoder.encoder.layer]
    heads = [torch.zeros(encoder.config.num_attention_heads) for _ in encoder.encoder.layer]
    hooks = []
    for place, layer in enumerate(encoder.encoder.layer):

        def weigh_neurons(_: nn.Module, inputs: tuple[Tensor, ...], place: int = place) -> None:
            neurons[place] += inputs[0].abs().sum((0, 1))

        def weigh_heads(module: nn.Linear, inputs: tuple[Tensor, ...], place: int = place) -> None:
            parts = inputs[0].unflatten(-1, (len(heads[place]), -1))
            weight = module.weight.unflatten(-1, (len(heads[place]), -1))
            heads[place] += torch.einsum("bthd,ohd->btho", parts, weight).norm(dim=-1).sum((0, 1))

        hooks.append(layer.output.dense.register_forward_pre_hook(weigh_neurons))
        hooks.append(layer.attention.output.dense.register_forward_pre_hook(weigh_heads))
    states = []
    encoder.eval()
    for batch in plan_batches([len(row) for row in sample], 2048, None):
        ids, mask = pad([sample[place] for place in batch])
        output = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states += [hidden[mask.bool()] for hidden in output.hidden_states]
    for hook in hooks:
        hook.remove()
    for place, layer in enumerate(encoder.encoder.layer):
        neurons[place] *= layer.output.dense.weight.norm(dim=0)
    return torch.cat(states), neurons, heads


def _project_in(old: nn.Linear, new: nn.Linear, basis: Tensor, kept: Tensor) -> None:
    new.weight.copy_(old.weight[kept] @ basis)
    new.bias.copy_(old.bias[kept])


def _project_out(old: nn.Linear, new: nn.Linear, basis: Tensor, kept: Tensor) -> None:
    new.weight.copy_(basis.T @ old.weight[:, kept])
    new.bias.copy_(old.bias @ basis)


def _project_norm(old: nn.LayerNorm, new: nn.LayerNorm, basis: Tensor) -> None:
    # The gain in the new basis is no longer diagonal: keep its diagonal. A narrower norm gives a
    # shorter vector, which the square root makes up for.
    stretch = (basis.shape[0] / basis.shape[1]) ** 0.5
    new.weight.copy_(stretch * (basis.square().T @ old.weight))
    new.bias.copy_(old.bias @ basis)
