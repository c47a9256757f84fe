"""int8 products: exact sums, errors of half a step, rows that do not see each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.encoder.int8 import Int8Linear, exact_products, quantize_weight
from beam_bert.encoder.int8_rows import round_rows
from beam_bert.encoder.linear import ACTIVATIONS


def random_weight(out_features: int, in_features: int) -> torch.Tensor:
    return torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def relative_error(linear: Int8Linear, x: torch.Tensor, weight: torch.Tensor) -> float:
    exact = x.double() @ weight.double().t()
    return float((linear.product(x) - exact).std() / exact.std())


@pytest.mark.parametrize("exact", ["all", "pairs", "half"])
def test_weights_stay_within_what_the_machine_multiplies_exactly(exact):
    weight = random_weight(40, 64) * torch.tensor([0.01, 1.0] * 20)[:, None]
    rounded, scales = quantize_weight(weight.clone(), exact)
    integers = rounded.int()
    if exact == "half":
        assert integers.abs().max() == 64
    if exact == "pairs":
        left, right = integers[:, 0::2], integers[:, 1::2]
        assert (left + right)[left * right > 0].abs().max() <= 128
    error = (integers * scales[:, None] - weight).abs()
    assert (error <= scales[:, None] * 0.51).float().mean() > 0.99
    assert (integers.abs().amax(dim=1) >= 64).all()


def test_more_levels_leave_less_error():
    weight = random_weight(50, 256)
    errors = []
    for exact in ("all", "pairs", "half"):
        rounded, scales = quantize_weight(weight.clone(), exact)
        errors.append(float((rounded * scales[:, None] - weight).square().mean()))
    assert errors == sorted(errors)


@torch.inference_mode()
def test_this_machine_sums_the_weights_it_was_given_exactly():
    weight = torch.randint(-127, 128, (32, 96), generator=torch.Generator().manual_seed(1)).float()
    weight[:, 0] = 127
    rounded, scales = quantize_weight(weight.clone(), exact_products())
    x = torch.tensor([0.0, 127.0, 254.0]).repeat_interleave(96).view(3, 96)
    x[:, 0] = 254  # the row's scale is 1, so the inputs are integers already
    got = Int8Linear(weight, torch.zeros(32)).product(x)
    expected = x.double() @ (rounded.double() * scales.double()[:, None]).t()
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-2)


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_product_is_close_to_the_exact_one(shift):
    weight = random_weight(48, 128)
    x = torch.randn(30, 128, generator=torch.Generator().manual_seed(2)) + shift
    assert relative_error(Int8Linear(weight, torch.zeros(48)), x, weight) < 0.02


@torch.inference_mode()
def test_bias_is_added_in_full_precision():
    linear = Int8Linear(random_weight(8, 16), torch.arange(8).float())
    torch.testing.assert_close(linear.product(torch.zeros(2, 16)), torch.arange(8.0).repeat(2, 1))


@torch.inference_mode()
def test_a_loud_row_does_not_drown_a_quiet_one():
    weight = random_weight(48, 128)
    linear = Int8Linear(weight, torch.zeros(48))
    quiet = torch.randn(1, 128, generator=torch.Generator().manual_seed(3)) * 1e-4
    together = linear.product(torch.cat([quiet, torch.full((1, 128), 1e4)]))
    assert torch.equal(together[:1], linear.product(quiet))


@torch.inference_mode()
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("with_residual", [False, True])
def test_activation_and_residual_are_applied_to_the_product(activation, with_residual):
    linear = Int8Linear(random_weight(48, 128), torch.linspace(-9, 9, 48))
    x = torch.randn(30, 128, generator=torch.Generator().manual_seed(4)) / 4
    residual = torch.randn(30, 48) if with_residual else None
    expected = linear.product(x)
    if activation:
        expected = ACTIVATIONS[activation](expected)
    if residual is not None:
        expected = expected + residual
    got = linear(x, activation=activation, residual=residual)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 300), start=st.integers(0, 200), count=st.integers(1, 100))
@torch.inference_mode()
def test_a_row_has_the_same_bits_wherever_it_stands(rows, start, count):
    linear = Int8Linear(random_weight(70, 66), torch.randn(70))
    x = torch.randn(rows + start + count, 66, generator=torch.Generator().manual_seed(rows))
    part = linear.product(x[start : start + count].clone())
    assert torch.equal(part, linear.product(x)[start : start + count])


@torch.inference_mode()
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so_in_its_own_row_alone(value):
    linear = Int8Linear(random_weight(8, 16), torch.zeros(8))
    x = torch.ones(3, 16)
    x[1, 4] = value
    assert linear(x, activation="gelu").isfinite().all(dim=1).tolist() == [True, False, True]
    assert linear.product(x).isfinite().all(dim=1).tolist() == [True, False, True]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    features=st.integers(1, 99),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]),
    shift=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
def test_rounded_rows_are_within_half_a_step(rows, features, size, shift, seed):
    x = np.random.default_rng(seed).normal(shift, 1, (rows, features)).astype(np.float32)
    x *= np.float32(size)
    rounded = np.empty(x.shape, np.uint8)
    scales, zero_points = np.empty((2, rows), np.float32)
    round_rows(x, rounded, scales, zero_points)
    back = (rounded - zero_points[:, None].astype(float)) * scales[:, None]
    assert (abs(back - x) <= 0.5001 * scales[:, None]).all()
    ends = np.maximum(x.max(axis=1), 0) - np.minimum(x.min(axis=1), 0)
    np.testing.assert_allclose(scales, np.maximum(ends / 254, 1e-30), rtol=1e-6)
    assert ((zero_points >= 0) & (zero_points <= 254) & (zero_points % 1 == 0)).all()
