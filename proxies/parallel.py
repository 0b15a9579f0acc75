"""One training in several processes: each takes its part of every batch, and all take the same step.

Parts of a batch are equal, so the mean of their losses and gradients is that of the whole; loads of routed experts are
summed over all parts before they are judged. Gloo between processors, NCCL between GPUs, one process each.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch._C._distributed_c10d import TCPStore
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from proxies.errors import ProxyError

JOIN = timedelta(minutes=10)  # for all processes to start, and for the slowest step among them


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One of `count` processes that train together: `rank` from 0, which measures; `address` is a port of rank 0's."""

    rank: int
    count: int
    address: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of a training as one of them sees them; alone it changes nothing."""

    rank: int = 0
    count: int = 1

    def part(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's part of a batch, by rows."""
        if len(rows) % self.count:
            raise ProxyError(f"a batch of {len(rows)} sequences does not divide among {self.count} processes")
        size = len(rows) // self.count
        return rows[self.rank * size : (self.rank + 1) * size]

    def sum(self, counts: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.count > 1:
            counts = counts.clone()
            distributed.all_reduce(counts)
        return counts

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over all processes."""
        return self.sum(value) / self.count if self.count > 1 else value

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient with its mean over all processes, in one exchange."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = _flatten_dense_tensors(gradients)
        distributed.all_reduce(flat)
        flat /= self.count
        for gradient, mean in zip(gradients, _unflatten_dense_tensors(flat, gradients), strict=True):
            gradient.copy_(mean)


ALONE = Group()


@contextmanager
def joined(ranks: Ranks | None) -> Iterator[Group]:
    """Give the group of `ranks` once all its processes are there; None is a process alone."""
    if ranks is None or ranks.count == 1:
        yield ALONE
        return
    host, _, port = ranks.address.rpartition(":")
    store = TCPStore(host, int(port), ranks.count, is_master=ranks.rank == 0, timeout=JOIN)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.count, timeout=JOIN)
    try:
        yield Group(rank=ranks.rank, count=ranks.count)
    finally:
        distributed.destroy_process_group()


def open_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
