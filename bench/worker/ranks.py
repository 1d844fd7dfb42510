"""The worker of a row that computes with several processes: each rank is a worker, and all answer in step.

`mpiexec -n T python -P -m bench.worker.ranks`. Rank 0 reads the requests and passes them on; every rank
answers, so that the row runs as it would in any MPI program; the replies become one: CPU time, memory and compilations
are those of all ranks, the clock is rank 0's. Rank 0 decides what depends on a time.

Between requests a rank sleeps and looks: MPI itself would wait by computing, while other rows are timed.
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
        rank, first = failures[0]
        return (
            first
            if len(failures) == len(replies)
            else msgspec.structs.replace(first, reason=f"rank {rank}: {first.reason}")
        )
    reply = replies[0]
    match reply:
        case protocol.Taken():
            taken = [each for each in replies if isinstance(each, protocol.Taken)]
            reply.cpu_seconds = sum(each.cpu_seconds for each in taken)
            reply.idle_cpus = sum(each.idle_cpus for each in taken)
            reply.own_bytes = sum(each.own_bytes for each in taken)
            reply.compilations = sum(each.compilations for each in taken)
        case protocol.Prepared():
            prepared = [each for each in replies if isinstance(each, protocol.Prepared)]
            reply.busiest_threads = [thread for each in prepared for thread in each.busiest_threads[:1]]
            reply.children = True
            if reply.first_call is not None:
                peak = sum(each.first_call.peak_rss_bytes for each in prepared if each.first_call)
                reply.first_call = msgspec.structs.replace(reply.first_call, peak_rss_bytes=peak)
            reply.tracing = list(dict.fromkeys(words for each in prepared for words in each.tracing))
        case protocol.HandedOver():
            reply.children = True
    return reply


def lead(comm: Any, requests: Any, replies: Any, of_rank: Worker) -> None:
    """Answer what stands in `requests`, with all ranks, up to an empty line or their end."""
    others = range(1, comm.size)
    for line in requests:
        if not line.strip():
            break
        for rank in others:
            comm.send(line, rank)
        mine = answered(of_rank, line)
        theirs = [msgspec.json.decode(_receive(comm, rank), type=protocol.AnyReply) for rank in others]
        replies.write(msgspec.json.encode(merged([mine, *theirs])) + b"\n")
        replies.flush()
    for rank in others:
        comm.send(b"", rank)


def follow(comm: Any, of_rank: Worker) -> None:
    """Answer what rank 0 passes on, until that is nothing; what a reply would write to a file goes nowhere."""
    while line := _receive(comm, 0):
        request = msgspec.json.decode(line, type=protocol.AnyRequest)
        if isinstance(request, protocol.HandOver):
            line = msgspec.json.encode(msgspec.structs.replace(request, path=os.devnull))
        comm.send(msgspec.json.encode(answered(of_rank, line)), 0)


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

        of_rank = Worker(waiting, bare_rss_bytes, ranks)
        if comm.rank == 0:
            lead(comm, requests, replies, of_rank)
        else:
            follow(comm, of_rank)
        of_rank.release()


if __name__ == "__main__":
    main()
