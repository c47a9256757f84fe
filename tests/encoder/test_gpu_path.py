"""The path of a GPU, as far as a machine without one can follow it.

Shapes, dtypes and devices of a whole forward: torch's fake tensors, which claim to lie on a GPU,
with torch's own checks of every operation. Numbers: the packed attention, computed on the CPU as
its documentation has it. What stays untried here are the kernels: `benchmarks/gpu.py` checks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.attention.varlen as varlen
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from beam_bert.encoder import (
    SequenceClassifier,
    SpanFinder,
    answering,
    attention,
    load_classifier,
)
from beam_bert.encoder.attention import Boundaries
from beam_bert.encoder.config import read_config
from beam_bert.encoder.fp8 import Fp8Linear, _to_fp8
from beam_bert.encoder.model import Encoder, head
from beam_bert.encoder.packing import PackedBatch, pack
from beam_bert.encoder.plan import plan_micro_batches
from beam_bert.errors import ConfigError

from .conftest import CONFIGS, LABELS, packed, random_sequences

GPU = torch.device("cuda:0")


class FakeCheckpoint:
    """Tensors of the shapes asked for, in a fake mode."""

    def tensor(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(list(shape))


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
@pytest.mark.parametrize("family", CONFIGS)
@torch.inference_mode()
def test_a_forward_fits_together_on_a_gpu(checkpoint, family, precision, monkeypatch):
    options = {}
    real = varlen.varlen_attn
    monkeypatch.setattr(
        varlen, "varlen_attn", lambda *args, **more: options.update(more) or real(*args, **more)
    )
    config = read_config(checkpoint(family)[0])
    lengths = np.array([9, 7, 7, 3])
    (batch,) = plan_micro_batches(lengths, 100)

    def zeros(count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(count, dtype=dtype, device=GPU)

    with FakeTensorMode():
        encoder = Encoder(FakeCheckpoint(), config, precision, GPU)
        classify = head(FakeCheckpoint(), config, GPU)
        ends = zeros(5, torch.int32)
        inputs = PackedBatch(
            zeros(26, torch.int32),
            zeros(26, torch.int32),
            zeros(4, torch.int64),
            Boundaries(tuple(batch.runs()), ends, ends, longest=9),
        )
        hidden = encoder.forward(inputs)
        logits = classify(encoder.forward(inputs, first_tokens_only=True))
    assert (hidden.shape, hidden.dtype, hidden.device) == ((26, 64), torch.bfloat16, GPU)
    assert (logits.shape, logits.dtype, logits.device) == ((4, LABELS), torch.float32, GPU)
    assert options == {"num_splits": 1}, "bits would depend on what else is in the batch"


def test_what_a_gpu_is_given_is_copied_without_waiting_for_it(monkeypatch):
    copies = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if func is torch.ops.aten._to_copy.default and "device" in kwargs:
                copies.append(kwargs.get("non_blocking", False))
            return func(*args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # there is no GPU
    monkeypatch.setattr(answering, "best_spans", lambda logits, first, ranges, *rest: ranges)
    ids, offsets = packed(random_sequences([9, 7]))
    (batch,) = plan_micro_batches(np.diff(offsets), 100)
    ranges = np.array([[1, 5, 0, 5], [1, 3, 0, 3]], np.int32)
    finder = SpanFinder.__new__(SpanFinder)
    finder.max_answer_tokens, finder.top_spans = 30, 1
    finder._head = lambda hidden: hidden
    finder._encoder = SimpleNamespace(forward=lambda batch: torch.zeros(16, 8, device=GPU))
    config = SimpleNamespace(position_offset=0, type_vocab_size=2, max_positions=512)
    with FakeTensorMode(allow_non_fake_inputs=True), Watch():
        inputs = pack(batch, ids, offsets, np.array([2, 3], np.int32), config, GPU)
        looked_at = finder._read(inputs, ranges)
    assert looked_at.device == GPU and looked_at.dtype == torch.int64
    assert copies == [True] * 6


@torch.inference_mode()
def test_a_shape_that_the_fp8_product_does_not_take_is_refused_by_name():
    with pytest.raises(ConfigError, match="sizes 16 divides, and this model has one of 312 x 48"):
        Fp8Linear(torch.randn(48, 312), torch.zeros(48))


def packed_attention(query, key, value, ends_q, ends_k, max_q, max_k, *, num_splits):
    """`varlen_attn` as it is documented, on the CPU."""
    assert ends_q.dtype == ends_k.dtype == torch.int32
    assert (max_q, max_k) == (int(ends_q.diff().max()), int(ends_k.diff().max()))
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    out = torch.empty_like(query)
    bounds = zip(pairwise(ends_q.tolist()), pairwise(ends_k.tolist()), strict=True)
    for (first_q, stop_q), (first_k, stop_k) in bounds:
        rows, seen = slice(first_q, stop_q), slice(first_k, stop_k)
        parts = (t.transpose(0, 1) for t in (query[rows], key[seen], value[seen]))
        out[rows] = F.scaled_dot_product_attention(*parts).transpose(0, 1)
    return out


@pytest.fixture(scope="module")
def model(checkpoint) -> SequenceClassifier:
    """In fp32, so that a slip shows; micro-batches are queued ahead, as on a GPU."""
    model = load_classifier(checkpoint("bert")[0], precision="fp32", device="cpu", batch_tokens=99)
    model._threads = None
    return model


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "varlen_attn", packed_attention)
        patch.setattr(attention, "_one_order", lambda device: {"num_splits": 1})
        patch.setattr(attention, "_is_for_varlen", lambda query: True)
        yield


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 512), max_size=12), batch_tokens=st.integers(1, 2_000))
def test_packed_attention_gives_every_sequence_its_logits(model, lengths, batch_tokens):
    sequences, finished = random_sequences(lengths), []
    arrays = packed(sequences)
    model.batch_tokens = batch_tokens
    expected = model.logits(*arrays)
    with as_on_a_gpu():
        got = model.logits(*arrays, on_batch=lambda count, tokens: finished.append(count))
    assert sum(finished) == len(sequences)
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)


def test_memory_that_runs_out_while_others_are_queued_loses_none_of_them(model, monkeypatch):
    forward, sizes = model._encoder.forward, []
    arrays = packed(random_sequences([50] * 30))
    model.batch_tokens = 150
    expected = model.logits(*arrays)

    def fills_up(batch, **kwargs):
        sizes.append(len(batch.input_ids))
        if len(sizes) > 3 and sizes[-1] > 100:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(batch, **kwargs)

    monkeypatch.setattr(model._encoder, "forward", fills_up)
    finished: list[int] = []
    with as_on_a_gpu():
        got = model.logits(*arrays, on_batch=lambda count, tokens: finished.append(count))
    assert sizes == [150] * 4 + [50] * 21
    assert sum(finished) == 30
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)


def test_what_another_thread_found_of_the_memory_is_neither_forgotten_nor_told_again(
    model, monkeypatch, caplog
):
    forward = model._encoder.forward
    arrays = packed(random_sequences([50] * 30))
    model.batch_tokens = 600
    expected = model.logits(*arrays)

    def fills_up(batch, **kwargs):
        if len(batch.input_ids) == 600:
            model.batch_tokens = 100  # by another thread, which planned as this one did
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(batch, **kwargs)

    monkeypatch.setattr(model._encoder, "forward", fills_up)
    np.testing.assert_allclose(model.logits(*arrays), expected, atol=1e-4, rtol=0)
    assert model.batch_tokens == 100
    assert not caplog.records


@pytest.mark.parametrize(
    ("dtype", "head_size", "expected"),
    [
        (torch.bfloat16, 64, True),
        (torch.bfloat16, 32, True),
        (torch.bfloat16, 26, False),
        (torch.bfloat16, 512, False),
        (torch.float32, 64, False),
    ],
)
def test_flash_attention_gets_only_what_it_takes(dtype, head_size, expected):
    with FakeTensorMode():
        query = torch.zeros(3, 2, head_size, dtype=dtype, device=GPU)
    assert attention._is_for_varlen(query) is expected
    assert not attention._is_for_varlen(torch.zeros(3, 2, head_size, dtype=dtype))


@pytest.mark.parametrize("error", [RuntimeError("not supported"), TypeError("unexpected keyword")])
def test_a_torch_that_cannot_be_told_the_order_is_not_told(monkeypatch, error):
    def refuses(*args, **options):
        if options:
            raise error
        return args[0]

    monkeypatch.setattr(varlen, "varlen_attn", refuses)
    attention._one_order.cache_clear()
    assert attention._one_order(torch.device("cpu")) == {}
    monkeypatch.setattr(varlen, "varlen_attn", lambda *args, **options: args[0])
    attention._one_order.cache_clear()
    assert attention._one_order(torch.device("cpu")) == {"num_splits": 1}
    attention._one_order.cache_clear()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_in_fp8_stays_so_in_its_own_row_alone(value):
    x = torch.randn(3, 32, dtype=torch.bfloat16)
    x[1, 4] = value
    rounded, scales = _to_fp8(x)
    product = (rounded.float() * scales) @ torch.ones(32)
    assert product.isfinite().tolist() == [True, False, True]


def test_fp8_keeps_bf16_rows_to_its_three_bits():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-6, 6, 20)[:, None]
    x = (torch.randn(20, 64, generator=generator) * sizes).to(torch.bfloat16)
    rounded, scales = _to_fp8(x)
    error = (rounded.float() * scales - x.float()).abs()
    assert (error <= 1.1 * 2**-4 * x.float().abs() + 2**-10 * scales).all()
    assert rounded.float().isfinite().all()


@torch.inference_mode()
def test_an_fp8_layer_multiplies_the_numbers_that_it_rounded_to():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(48, 32, generator=generator), torch.randn(48, generator=generator)
    x = torch.randn(7, 32, generator=generator).to(torch.bfloat16)
    x *= torch.logspace(-2, 2, 7, dtype=torch.bfloat16)[:, None]
    (inputs, input_scales), (weights, weight_scales) = _to_fp8(x), _to_fp8(weight)
    expected = inputs.float() * input_scales @ (weights.float() * weight_scales).t() + bias
    try:
        got = Fp8Linear(weight, bias).product(x)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"this torch has no fp8 product on a CPU: {error}")
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=2**-7, atol=2**-6)


def test_fp8_rows_keep_their_relative_size():
    x = (
        torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-6, 6, 20)[:, None]
    )
    rounded, scales = _to_fp8(x)
    assert rounded.dtype == torch.float8_e4m3fn
    assert scales.shape == (20, 1)
    error = (rounded.float() * scales - x).abs()
    assert (error <= 2**-4 * x.abs() + 2**-10 * scales).all()
    assert _to_fp8(torch.zeros(2, 8))[0].float().eq(0).all()
