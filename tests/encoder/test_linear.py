"""Floating linear layers: right, and the same bits for a row whatever rows are beside it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.encoder.linear import ACTIVATIONS, MklLinear, OneDnnLinear, PlainLinear
from beam_bert.encoder.precision import compute_dtype, make_linear

from .conftest import company_tolerance

KINDS = [
    PlainLinear,
    pytest.param(
        OneDnnLinear,
        marks=pytest.mark.skipif(
            not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN"
        ),
    ),
    pytest.param(
        MklLinear,
        marks=pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch has no MKL"),
    ),
]
GENERATOR = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(96, 64, generator=GENERATOR)
BIAS = torch.randn(96, generator=GENERATOR)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@torch.inference_mode()
def test_layer_is_activation_of_product_and_residual(kind, activation):
    x, residual = torch.randn(7, 64), torch.randn(7, 96)
    reference = {
        None: lambda y: y,
        "gelu": F.gelu,
        "gelu_tanh": lambda y: F.gelu(y, approximate="tanh"),
        "relu": F.relu,
        "tanh": torch.tanh,
    }[activation]
    expected = reference(x.double() @ WEIGHT.double().t() + BIAS.double()) + residual.double()
    before = x.clone(), residual.clone()
    got = kind(WEIGHT, BIAS)(x, activation=activation, residual=residual)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before[0]), "the input was written to"
    assert torch.equal(residual, before[1]), "the residual was written to"


@pytest.mark.parametrize("out_features", [3, 96])
@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 200), count=st.integers(1, 300))
@torch.inference_mode()
def test_a_row_has_the_same_bits_wherever_it_stands(out_features, start, count):
    layer = make_linear(
        WEIGHT[:out_features], BIAS[:out_features], precision="fp32", device=torch.device("cpu")
    )
    x = torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
    part = layer.product(x[start : start + count].clone())
    torch.testing.assert_close(
        part, layer.product(x)[start : start + count], rtol=0, atol=company_tolerance("fp32")
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@torch.inference_mode()
def test_every_precision_makes_its_layer(precision):
    layer = make_linear(WEIGHT, BIAS, precision=precision, device=torch.device("cpu"))
    x = torch.randn(5, 64).to(compute_dtype(precision))
    got = layer(x)
    assert got.dtype == compute_dtype(precision)
    expected = F.linear(x.float(), WEIGHT, BIAS)
    torch.testing.assert_close(got.float(), expected, rtol=0.02, atol=0.5)
