"""Where torch computes and how: device, precision, threads, and algorithms that give the same bits every time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.errors import ConfigError
from training.config import Precision


def find_device(name: str) -> torch.device:
    """Return the device; `auto` is CUDA where there is one.

    Raises:
        ConfigError: it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    advice = f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(advice) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(advice)
    n_devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_devices:
        raise ConfigError(f"--device {name}: torch sees {n_devices} CUDA devices here; take auto or cpu")
    return device


def find_precision(name: Precision, device: torch.device) -> Precision:
    """Return `fp32`, `bf16` or `fp16`; `auto` is bf16 where the processor computes with it, not only stores it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    knows = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16" if knows is not None and knows() else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which the network runs at a precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


@contextmanager
def repeatable(threads: int) -> Iterator[None]:
    """Run torch with a fixed number of threads and deterministic algorithms; leave it as it was.

    Sums are split by threads: another number of them gives other bits.
    """
    n_threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS, once started, repeats itself only so
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        with (
            full_precision(),
            _switched_off(torch.backends.cudnn, "benchmark"),
            # Every kernel here writes all of what it returns.
            _switched_off(torch.utils.deterministic, "fill_uninitialized_memory"),
        ):
            yield
    finally:
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])


@contextmanager
def full_precision() -> Iterator[None]:
    """Let fp32 mean fp32 on CUDA, where convolutions are otherwise rounded to TF32; leave it as it was."""
    with _switched_off(torch.backends.cuda.matmul, "allow_tf32"), _switched_off(torch.backends.cudnn, "allow_tf32"):
        yield


@contextmanager
def _switched_off(owner: Any, name: str) -> Iterator[None]:
    """Switch a setting of torch off, and back to what it was."""
    before = getattr(owner, name)
    setattr(owner, name, False)
    try:
        yield
    finally:
        setattr(owner, name, before)
