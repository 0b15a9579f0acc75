"""What this machine's processor is good at, and how a worker process is set up for it."""

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch

from proxies.config import Precision
from proxies.errors import ProxyError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
TOP_PAD_BYTES = 256 << 20
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, arm64 as /proc/cpuinfo spells them


def prepare_process(*, threads: int = 1) -> None:
    """Set up a process that only trains: `threads` torch threads, and freed memory kept for the next step."""
    if threads < 1:
        raise ProxyError(f"a worker needs at least one thread, got {threads}")
    torch.set_num_threads(threads)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Keep the C allocator from giving pages back after each tensor; False where it is not glibc's.

    Without this every attention matrix is mapped and zeroed anew, which doubles the time of small steps.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(libc.mallopt(option, value) for option, value in settings)


def device() -> torch.device:
    """Return the accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def product_dtype(precision: Precision, place: torch.device) -> torch.dtype:
    """Return the type that matrix products run in on `place`; "auto" is bfloat16 where there are units for it."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if place.type == "cuda" else processor_has_bf16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@cache
def processor_has_bf16() -> bool:
    """Say whether the processor multiplies bfloat16 in hardware."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return not BF16_FLAGS.isdisjoint(flags.split())
