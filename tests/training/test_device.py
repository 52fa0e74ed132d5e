"""Where torch computes is found or refused in one line, and torch is left as it was."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pipeline.errors import ConfigError
from training.device import autocast, find_device, find_precision, repeatable

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def settings_of_torch() -> tuple[Any, ...]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


@pytest.fixture
def odd_settings() -> Iterator[tuple[Any, ...]]:
    """Settings that repeatable() must put back, none of them torch's own."""
    before = settings_of_torch()
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield settings_of_torch()
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1], warn_only=before[2])
    torch.backends.cudnn.benchmark = before[3]
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[4:]


def test_the_cpu_is_always_there() -> None:
    assert find_device("cpu") == CPU


def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, CUDA), (False, CPU)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert find_device("auto") == expected


@pytest.mark.parametrize("name", ["gpu", "", "mps", "meta", "cuda:x", "cpu:cuda", "cuda:-1", "AUTO"])
def test_an_unknown_device_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"expected auto, cpu, cuda or cuda:N, got {name!r}")) as caught:
        find_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "n_devices"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, n_devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    with pytest.raises(ConfigError, match=f"--device {name}: torch sees {n_devices} CUDA devices here"):
        find_device(name)


def test_a_cuda_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == torch.device("cuda:1")


def test_a_precision_that_was_asked_for_is_taken() -> None:
    for name in ("fp32", "bf16", "fp16"):
        assert find_precision(name, CPU) == name


def test_auto_takes_bf16_only_where_the_processor_computes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for knows, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda knows=knows: knows, raising=False)
        assert find_precision("auto", CPU) == expected
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert find_precision("auto", CPU) == "fp32"
    for capability, expected in (((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device, found=capability: found)
        assert find_precision("auto", CUDA) == expected


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_network_computes_at_its_precision(precision: str, expected: torch.dtype) -> None:
    layer = torch.nn.Linear(2, 2)
    with autocast(CPU, precision):
        assert layer(torch.ones(1, 2)).dtype == expected
    assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_a_repeatable_run_fixes_what_changes_bits(odd_settings: tuple[Any, ...]) -> None:
    assert odd_settings == (3, True, True, True, True, True)
    with repeatable(2):
        assert settings_of_torch() == (2, True, False, False, False, False)


def test_torch_is_left_as_it_was(odd_settings: tuple[Any, ...]) -> None:
    with repeatable(2):
        pass
    assert settings_of_torch() == odd_settings


def test_torch_is_left_as_it_was_by_a_run_that_fails(odd_settings: tuple[Any, ...]) -> None:
    with contextlib.suppress(ZeroDivisionError), repeatable(2):
        _ = 1 // 0
    assert settings_of_torch() == odd_settings


@pytest.mark.gpu
def test_cuda_is_found() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    assert find_device("auto").type == "cuda"
    assert find_precision("auto", find_device("cuda:0")) in ("bf16", "fp32")
