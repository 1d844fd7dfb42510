"""PyTorch on several ranks: what a user would pick, DistributedDataParallel over gloo.

What changed from `torch`: the module is wrapped, and while the backward pass runs, the gradients that are ready are
averaged over the ranks, in buckets. MPI only starts the processes and says where they meet. As in `mpi`,
all ranks make the same calls, and each computes with its share of a mini-batch: its part of the cost is multiplied by
the number of ranks, so that the library's average is the sum. A rank without an example of a mini-batch computes with
none, because the others wait for its gradient.
"""

import atexit
import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from numpy.typing import DTypeLike
from torch.nn.parallel import DistributedDataParallel

from impls.interface import Array, Batch
from impls.support.ranks import agree, bounded, check_same, communicator, time_out_seconds
from impls.torch import Torch


class BatchShare(NamedTuple):
    """What a rank holds of a mini-batch, as tensors."""

    x: Any  # (b, n_0)
    y: Any  # (b, n_L)
    examples: int  # of the mini-batch, on all ranks


@cache
def group() -> None:
    """Have the ranks meet, once in each process: at a port of rank 0 that is free. A collective call."""
    comm = communicator("torch")
    limit = timedelta(seconds=time_out_seconds())
    with bounded(comm, "to meet"):
        hosts = comm.allgather(socket.gethostname())
    host = hosts[0]
    if len(set(hosts)) == 1:  # one machine, whose name may lead nowhere
        host = "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mine = dist.TCPStore(host, 0, comm.size, True, limit, wait_for_workers=False) if comm.rank == 0 else None
    with bounded(comm, "to meet"):
        port = comm.bcast(mine.port if mine else 0)
    store = mine or dist.TCPStore(host, port, comm.size, False, limit, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=comm.rank, world_size=comm.size, timeout=limit)
    atexit.register(dist.destroy_process_group)


class TorchDdp(Torch):
    """The same on several ranks, gradients averaged while the backward pass runs."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        comm = communicator()
        super().__init__(sizes, batch_size, dtype, threads)
        torch.set_num_threads(max(1, threads // comm.size))
        agree(comm, sizes=self.sizes, dtype=self.dtype, threads=threads, torch=torch.__version__)
        group()
        self._comm, self._rank, self._ranks = comm, comm.rank, comm.size
        self._parallel = DistributedDataParallel(self._model)

    def prepare(self, x: Array, y: Array) -> BatchShare:
        return self._mine(super().prepare(x, y))

    def take(self, data: Batch, indices: Any) -> Any:
        return self._mine(super().take(data, indices))

    def check_ranks(self) -> None:
        """Raise RanksDiffer on all ranks unless all have the same parameters, bit for bit. A collective call."""
        weights, biases = self.parameters()
        check_same(self._comm, weights + biases, "parameters")

    def _mine(self, batch: Batch) -> BatchShare:
        """Return this rank's share of a mini-batch."""
        examples = len(batch.x)
        part = slice(examples * self._rank // self._ranks, examples * (self._rank + 1) // self._ranks)
        return BatchShare(batch.x[part], batch.y[part], examples)

    def _backward(self, batch: Any) -> None:
        x, y, examples = batch
        self._optimizer.zero_grad()
        cost = self._squares(self._parallel(x), y) * (self._ranks / (2 * examples))
        cost.backward()
