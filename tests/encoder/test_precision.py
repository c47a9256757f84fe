"""Which arithmetic a machine gets: told apart by what it can do, here by what it is said to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from beam_bert.encoder import load_classifier, precision
from beam_bert.encoder.linear import MklLinear, OneDnnLinear, PlainLinear
from beam_bert.encoder.precision import make_linear, resolve_precision
from beam_bert.errors import ConfigError

from .conftest import CONFIGS, packed, random_sequences, reference_logits

CPU, GPU = torch.device("cpu"), torch.device("cuda")
T4, A100, L4, H100 = (7, 5), (8, 0), (8, 9), (9, 0)


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_cpu_is_bf16_where_the_hardware_multiplies_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(precision, "has_native_bf16", lambda: has_bf16)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("capability", "asked", "expected"),
    [
        (T4, "auto", "fp32"),
        (T4, "fp32", "fp32"),
        (A100, "auto", "bf16"),
        (A100, "bf16", "bf16"),
        (L4, "auto", "bf16"),
        (L4, "fp8", "fp8"),
        (H100, "auto", "bf16"),
        (H100, "fp8", "fp8"),
    ],
)
def test_a_gpu_runs_what_its_generation_can(monkeypatch, capability, asked, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision(asked, GPU) == expected


@pytest.mark.parametrize(
    ("capability", "asked", "message"),
    [
        (T4, "bf16", "Tesla T4 has no bf16; use --precision auto"),
        (A100, "fp8", "Tesla T4 has no fp8; use --precision auto"),
        (H100, "int8", "int8 runs on CPUs"),
    ],
)
def test_what_a_gpu_cannot_do_is_refused_by_name(monkeypatch, capability, asked, message):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(ConfigError, match=message):
        resolve_precision(asked, GPU)


def said_to_have(monkeypatch, *, avx512: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)


@pytest.mark.parametrize(
    ("avx512", "out_features", "kind"),
    [(False, 64, MklLinear), (False, 3, OneDnnLinear), (True, 64, OneDnnLinear)],
)
def test_float32_goes_to_the_library_that_is_fastest(monkeypatch, avx512, out_features, kind):
    said_to_have(monkeypatch, avx512=avx512)
    weight, bias = torch.randn(out_features, 32), torch.zeros(out_features)
    assert type(make_linear(weight, bias, precision="fp32", device=CPU)) is kind


@pytest.mark.parametrize("packs", [True, False])
def test_bf16_is_packed_where_onednn_takes_it(monkeypatch, packs):
    packed_weights = []
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: packs)
    monkeypatch.setattr(
        torch.ops.mkldnn,
        "_reorder_linear_weight",
        lambda weight, rows: packed_weights.append(weight.dtype) or weight,
    )
    layer = make_linear(torch.randn(64, 32), torch.zeros(64), precision="bf16", device=CPU)
    assert type(layer) is (OneDnnLinear if packs else PlainLinear)
    assert packed_weights == [torch.bfloat16] * packs


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("avx512", [True, False])
def test_either_way_the_logits_are_those_of_transformers(monkeypatch, checkpoint, family, avx512):
    said_to_have(monkeypatch, avx512=avx512)
    folder, reference = checkpoint(family)
    sequences = random_sequences([1, 5, 5, 40, 130])
    got = load_classifier(folder, precision="fp32", device="cpu").logits(*packed(sequences))
    np.testing.assert_allclose(got, reference_logits(reference, sequences), atol=1e-4, rtol=0)
