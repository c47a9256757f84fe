"""Which numbers the products are made in: what a device can do, what "auto" means, which layer."""

from __future__ import annotations

import torch

from beam_bert.encoder.fp8 import Fp8Linear
from beam_bert.encoder.linear import Linear, MklLinear, OneDnnLinear, PlainLinear
from beam_bert.errors import ConfigError

PRECISIONS = ("fp32", "bf16", "int8", "fp8")
EIGHT_BITS = ("int8", "fp8")  # have to show that they agree with fp32


def has_native_bf16() -> bool:
    """True where the CPU multiplies bf16 in hardware: AVX-512 BF16 or AMX."""
    return bool(torch.cpu._is_avx512_bf16_supported()) or has_amx()


def has_amx() -> bool:
    """True where the CPU multiplies tiles: AMX."""
    return bool(torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn "auto" into what `device` runs best at no loss: bf16 in hardware, else fp32.

    On a GPU bf16 takes compute capability 8.0 (A100, L4, H100) and fp8 8.9 (L4, H100). int8 (CPU)
    and fp8 (GPU) are never chosen: they are asked for, and have to prove their agreement first (see
    `beam_bert.jobs.precision_check`).

    Raises:
      ConfigError: the name is unknown, or this device does not run it.
    """
    on_gpu = device.type == "cuda"
    capability = torch.cuda.get_device_capability(device) if on_gpu else (0, 0)
    if precision == "auto":
        has_bf16 = capability >= (8, 0) if on_gpu else has_native_bf16()
        return "bf16" if has_bf16 else "fp32"
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision {precision!r} is unknown; it is auto, {', '.join(PRECISIONS)}"
        )
    if precision == "int8" and on_gpu:
        raise ConfigError("precision int8 runs on CPUs; on a GPU use fp8 or bf16")
    if precision == "int8" and "onednn" not in torch.backends.quantized.supported_engines:
        raise ConfigError("precision int8 needs a torch with oneDNN, which this CPU's is not")
    if precision == "fp8" and not on_gpu:
        raise ConfigError("precision fp8 runs on GPUs; on a CPU use int8")
    if on_gpu and capability < {"bf16": (8, 0), "fp8": (8, 9)}.get(precision, (0, 0)):
        name = torch.cuda.get_device_name(device)
        raise ConfigError(f"{name} has no {precision}; use --precision auto")
    return precision


def compute_dtype(precision: str) -> torch.dtype:
    """Dtype of the hidden states between the products."""
    return torch.bfloat16 if precision in ("bf16", "fp8") else torch.float32


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor, *, precision: str, device: torch.device
) -> Linear:
    """The linear layer of `precision` on `device`.

    Args:
      weight: float32 [out_features, in_features].
      bias: float32 [out_features].
      precision: resolved, one of `PRECISIONS`.
      device: where it will run.
    """
    if precision == "int8":
        from beam_bert.encoder.int8 import Int8Linear  # brings Numba, which nothing else needs

        return Int8Linear(weight, bias)
    weight, bias = weight.to(device), bias.to(device)
    if precision == "fp8":
        return Fp8Linear(weight, bias)
    dtype = compute_dtype(precision)
    weight, bias = weight.to(dtype), bias.to(dtype)
    if device.type != "cpu":
        return PlainLinear(weight, bias)
    if dtype == torch.bfloat16:
        # oneDNN refuses bf16 on a CPU with neither AVX-512 nor AVX-NE-CONVERT.
        packs = torch.backends.mkldnn.is_available() and (
            torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
        return OneDnnLinear(weight, bias) if packs else PlainLinear(weight, bias)
    # Few output channels (a head's labels) keep to oneDNN: MKL's narrow kernels are not row by row.
    has_avx2_alone = torch.cpu._is_avx2_supported() and not torch.cpu._is_avx512_supported()
    if has_avx2_alone and torch.backends.mkl.is_available() and weight.shape[0] >= 64:
        return MklLinear(weight, bias)
    if torch.backends.mkldnn.is_available():
        return OneDnnLinear(weight, bias)
    return PlainLinear(weight, bias)
