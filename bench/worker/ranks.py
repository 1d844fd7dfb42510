"""The worker of an implementation that computes with several processes: each rank is a worker, and all answer in step.

`mpiexec -n T python -P -m bench.worker.ranks`. Rank 0 reads the requests and passes them on; every rank
answers, so that the implementation runs as it would in any MPI program. The replies become one: CPU time, memory and
compilations are those of all ranks, the clock is rank 0's. Rank 0 decides what depends on a time.

Between requests a rank sleeps and looks: MPI itself would wait by computing, while others are timed.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from bench.system import processes
from bench.worker import protocol
from bench.worker.handlers import Worker
from bench.worker.main import answered, take_standard_streams
from bench.worker.replies import waiting as request_waiting
from bench.worker.timing import Alone
from impls.support.ranks import bounded, communicator, ending_the_job

LOOK_SECONDS = 0.002  # between two looks for a message


class Ranks(Alone):
    """Several ranks: they begin together, and rank 0's clock counts."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def begin(self) -> None:
        """Wait until all ranks are here."""
        with bounded(self.comm, "to begin a sample"):
            self.comm.Barrier()

    def agreed(self, value: float) -> float:
        """Return rank 0's value."""
        with bounded(self.comm, "after a sample"):
            return float(self.comm.bcast(value))


def _receive(comm: Any, rank: int) -> bytes:
    """Return the next message of another rank, asleep until it is there."""
    while not comm.Iprobe(source=rank):
        time.sleep(LOOK_SECONDS)
    return bytes(comm.recv(source=rank))


def merged(replies: Sequence[protocol.Reply]) -> protocol.Reply:
    """Return the replies of all ranks as one; a failure of any rank is the worker's."""
    failures = [(rank, reply) for rank, reply in enumerate(replies) if isinstance(reply, protocol.Failure)]
    if failures:
        rank, failure = failures[0]
        if len(failures) == len(replies):
            return failure
        return msgspec.structs.replace(failure, reason=f"rank {rank}: {failure.reason}")
    merged_reply: Any = replies[0]
    everyone: Sequence[Any] = replies
    match merged_reply:
        case protocol.Taken():
            for field in ("cpu_seconds", "idle_cpus", "own_bytes", "compilations"):
                setattr(merged_reply, field, sum(getattr(reply, field) for reply in everyone))
        case protocol.Prepared():
            merged_reply.busiest_threads = [thread for reply in everyone for thread in reply.busiest_threads[:1]]
            merged_reply.children = True
            if merged_reply.first_call is not None:
                peak = sum(reply.first_call.peak_rss_bytes for reply in everyone if reply.first_call)
                merged_reply.first_call = msgspec.structs.replace(merged_reply.first_call, peak_rss_bytes=peak)
            merged_reply.tracing = list(dict.fromkeys(words for reply in everyone for words in reply.tracing))
        case protocol.HandedOver():
            merged_reply.children = True
    return replies[0]


def lead(comm: Any, requests: Any, replies: Any, worker: Worker) -> None:
    """Answer what stands in `requests`, with all ranks, up to an empty line or their end."""
    others = range(1, comm.size)
    for line in requests:
        if not line.strip():
            break
        for rank in others:
            comm.send(line, rank)
        reply = answered(worker, line)
        other_replies = [msgspec.json.decode(_receive(comm, rank), type=protocol.AnyReply) for rank in others]
        replies.write(msgspec.json.encode(merged([reply, *other_replies])) + b"\n")
        replies.flush()
    for rank in others:
        comm.send(b"", rank)


def follow(comm: Any, worker: Worker) -> None:
    """Answer what rank 0 passes on, until that is nothing; what a reply would write to a file goes nowhere."""
    while line := _receive(comm, 0):
        request = msgspec.json.decode(line, type=protocol.AnyRequest)
        if isinstance(request, protocol.HandOver):
            line = msgspec.json.encode(msgspec.structs.replace(request, path=os.devnull))
        comm.send(msgspec.json.encode(answered(worker, line)), 0)


def main() -> None:
    """Answer requests until an empty one, or until standard input ends."""
    bare_rss_bytes = processes.resident_bytes("VmRSS")
    processes.die_with_the_parent()
    requests, replies = take_standard_streams()
    with ending_the_job():
        comm = communicator("worker")
        ranks = Ranks(communicator("timing"))

        def waiting() -> bool:
            return bool(ranks.agreed(comm.rank == 0 and request_waiting(requests)))

        worker = Worker(waiting, bare_rss_bytes, ranks)
        if comm.rank == 0:
            lead(comm, requests, replies, worker)
        else:
            follow(comm, worker)
        worker.release()


if __name__ == "__main__":
    main()
