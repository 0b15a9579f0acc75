"""What a machine is good at, as measured there."""

from pathlib import Path

import pytest
import torch

from proxies import machine

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gain", "dtype"), [(4.0, torch.bfloat16), (0.5, torch.float32), (1.0, torch.float32)])
def test_products_run_in_the_type_that_is_measured_to_be_fast(
    monkeypatch: pytest.MonkeyPatch, gain: float, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(machine, "bf16_gain", lambda: gain)
    assert machine.product_dtype("auto", CPU) == dtype
    assert machine.product_dtype("float32", CPU) == torch.float32
    assert machine.product_dtype("bfloat16", CPU) == torch.bfloat16


def test_the_measurement_finds_the_units_that_the_processor_names() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    if "avx512_bf16" not in flags and "amx_bf16" not in flags:
        pytest.skip("this processor names no units for bfloat16; what it is good at has no second witness here")
    assert machine.bf16_gain() > 2
