"""What this machine's processor is good at, and how a worker process is set up for it."""

import ctypes
import platform
import sys
import time
from functools import cache
from pathlib import Path

import torch

from proxies.config import Precision
from proxies.errors import ProxyError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
TOP_PAD_BYTES = 256 << 20
ROWS, WIDTH, ROUNDS = 1_024, 256, 4  # of a product like those of a proxy, a few milliseconds in all
LEAST_GAIN = 1.3  # casts and passes over memory cost some of it; a guess, far from all that was measured


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


def device_name(place: torch.device) -> str:
    """Return what `place` is sold as: the accelerator's name, or the processor's."""
    if place.type == "cuda":
        return torch.cuda.get_device_name(place)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def product_dtype(precision: Precision, place: torch.device) -> torch.dtype:
    """Return the type that matrix products run in on `place`; "auto" is bfloat16 where that is faster."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if place.type == "cuda" else bf16_gain() > LEAST_GAIN
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@cache
def bf16_gain() -> float:
    """Return how many times as fast as in float32 this processor multiplies in bfloat16, by measuring once a process.

    By the time that this thread computes; four with units for it, where it was measured.
    """
    shapes = ((ROWS, WIDTH), (WIDTH, 2 * WIDTH))
    pairs = {dtype: [torch.ones(shape, dtype=dtype) for shape in shapes] for dtype in (torch.float32, torch.bfloat16)}
    taken_s: dict[torch.dtype, list[float]] = {dtype: [] for dtype in pairs}
    for _ in range(ROUNDS):
        for dtype, (a, b) in pairs.items():
            started = time.thread_time()
            torch.mm(a, b)
            taken_s[dtype].append(time.thread_time() - started)
    return min(taken_s[torch.float32]) / max(min(taken_s[torch.bfloat16]), 1e-9)
