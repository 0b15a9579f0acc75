"""Loops in C++ that stand beside the Python that calls them: built once a machine, where there is a compiler."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
OPERATORS = torch.library.Library("mixopt", "FRAGMENT")

COMPILERS = ("c++", "g++", "clang++")
# Loops from a line of the cache on: else the least change makes products up to a twentieth slower, or faster.
OPTIONS = ("-O3", "-march=native", "-falign-loops=64", "-std=c++17", "-shared", "-fPIC", "-w")


def compiler() -> str | None:
    """Return the path of a C++ compiler; None where there is none."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def has_unit(flag: str) -> bool:
    """Say whether this machine's processors have a unit, by Linux's name for it."""
    return flag in _flags()


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """Return what `source` compiles to for this processor; None without a compiler, or where it fails (logged)."""
    found = compiler()
    if found is None:
        return None
    texts = [file.read_text(encoding="utf-8") for file in (source, *sorted(source.parent.glob("*.h")))]
    parts = [*texts, *OPTIONS, found, platform.machine(), *sorted(_flags())]
    name = f"{source.stem}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.so"
    try:
        built = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixopt" / name
        if not built.exists():
            _build(found, source, built)
        return ctypes.CDLL(str(built))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: there is no home
        text = getattr(error, "stderr", None) or error
        log.warning("cannot build %s, so that slower code runs in its place: %s", source.name, text)
        return None


def _build(program: str, source: Path, built: Path) -> None:
    """Compile into a folder of its own, then move: two processes may do so at once."""
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        fresh = Path(folder) / built.name
        subprocess.run([program, *OPTIONS, str(source), "-o", str(fresh)], check=True, capture_output=True, text=True)
        fresh.replace(built)


@cache
def is_here(source: Path) -> bool:
    """Say whether this machine can run the loops of `source`, which multiply in bfloat16 by AVX-512."""
    return has_unit("avx512_bf16") and library(source) is not None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def runs(source: Path) -> bool:
    """Say whether the loops of `source` run as this process is set: they know one thread."""
    return torch.get_num_threads() == 1 and is_here(source)


def takes(x: Tensor) -> bool:
    """Say whether `x` is what all loops multiply: bfloat16, in a processor's memory."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def replaces(source: Path, x: Tensor) -> bool:
    """Say whether the loops of `source` stand in for torch's operators on `x`: compiled, it fuses these itself."""
    return not torch.compiler.is_compiling() and takes(x) and runs(source)


def check_within(places: Tensor, size: int, *, what: str) -> None:
    """Raise an `IndexError` unless all places lie below `size`: loops do not look where they read."""
    low, high = places.aminmax()
    if low < 0 or high >= size:
        raise IndexError(f"{what} of {size} must be 0 to {size - 1}, got {low} to {high}")


def call(source: Path, name: str, tensors: Sequence[Tensor | None], sizes: Sequence[int], *numbers: float) -> None:
    """Call a loop of `source` on tensors (None: no address), sizes and numbers; what it writes must be contiguous."""
    loops = library(source)
    assert loops is not None
    kept = [None if each is None else each.contiguous() for each in tensors]
    addresses = [ctypes.c_void_p(None if each is None else each.data_ptr()) for each in kept]
    getattr(loops, name)(*addresses, *map(ctypes.c_long, sizes), *map(ctypes.c_float, numbers))


def operator(name: str, *, like: Callable[..., R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make of a function an operator of torch's own, so that a compiled program may hold it; `like` has no values.

    torch.library.custom_op does the same and checks more: 16 us a call in place of 10, and a step has dozens.
    """

    def made(function: Callable[P, R]) -> Callable[P, R]:
        schema = torch.library.infer_schema(function, mutates_args=())
        OPERATORS.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        OPERATORS.impl(name, function, "CPU")
        torch.library.register_fake(f"mixopt::{name}", like, lib=OPERATORS)
        found: Callable[P, R] = getattr(torch.ops.mixopt, name).default
        return found

    return made


@cache
def _flags() -> frozenset[str]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
