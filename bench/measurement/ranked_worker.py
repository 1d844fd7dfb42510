"""The worker of a row that computes with several processes: each rank is a worker, and all answer in step.

`mpiexec -n T python -P -m bench.measurement.ranked_worker`. Rank 0 reads the requests and passes them on; every rank
answers, so that the row runs as it would in any MPI program; the replies become one: CPU time, memory and compilations
are those of all ranks, the clock is rank 0's. Rank 0 decides what depends on a time (`bench.measurement.together`).

Between requests a rank sleeps and looks: MPI itself would wait by computing, while other rows are timed.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from bench import protocol, records
from bench.measurement import linux, memory, together, worker
from bench.measurement.answers import Worker
from bench.measurement.replies import waiting as request_waiting
from impls.ranks import bounded, communicator, ending_the_job

LOOK_SECONDS = 0.002  # between two looks for a message


class Ranks(together.Alone):
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
        alone = f"rank {rank}: " if len(failures) < len(replies) else ""
        tracebacks = {reply.traceback: f"rank {rank}:" for rank, reply in reversed(failures) if reply.traceback}
        lines = [line for traceback, of_rank in reversed(tracebacks.items()) for line in (of_rank, traceback)]
        return protocol.Failure(first.outcome, f"{alone}{first.reason}", "\n".join(lines))
    reply = replies[0]
    match reply:
        case protocol.Taken():
            taken = [one for one in replies if isinstance(one, protocol.Taken)]
            reply.cpu_seconds = sum(one.cpu_seconds for one in taken)
            reply.idle_cpus = sum(one.idle_cpus for one in taken)
            reply.own_bytes = sum(one.own_bytes for one in taken)
            reply.compilations = sum(one.compilations for one in taken)
        case protocol.Prepared():
            prepared = [one for one in replies if isinstance(one, protocol.Prepared)]
            reply.busiest_threads = [thread for one in prepared for thread in one.busiest_threads[:1]]
            reply.children = True
            reply.first_call = _first_call([one.first_call for one in prepared])
            reply.tracing = list(dict.fromkeys(words for one in prepared for words in one.tracing))
        case protocol.FirstCalled():
            first_call = _first_call([one.first_call for one in replies if isinstance(one, protocol.FirstCalled)])
            assert first_call is not None
            reply.first_call = first_call
        case protocol.HandedOver():
            reply.children = True
    return reply


def _first_call(calls: Sequence[records.FirstCall | None]) -> records.FirstCall | None:
    """Return rank 0's times with the memory of all ranks."""
    if calls[0] is None:
        return None
    return msgspec.structs.replace(calls[0], peak_rss_bytes=sum(call.peak_rss_bytes for call in calls if call))


def lead(comm: Any, requests: Any, replies: Any, of_rank: Worker) -> None:
    """Answer what stands in `requests`, with all ranks, up to an empty line or their end."""
    others = range(1, comm.size)
    for line in requests:
        if not line.strip():
            break
        for rank in others:
            comm.send(line, rank)
        mine = worker.answered(of_rank, line)
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
        comm.send(msgspec.json.encode(worker.answered(of_rank, line)), 0)


def main() -> None:
    """Answer requests until an empty one, or until standard input ends."""
    bare_rss_bytes = memory.resident_bytes("VmRSS")
    linux.die_with_the_parent()
    requests, replies = worker.take_standard_streams()
    with ending_the_job():
        comm = communicator("worker")
        ranks = together.ranks = Ranks(communicator("timing"))

        def waiting() -> bool:
            return bool(ranks.agreed(comm.rank == 0 and request_waiting(requests)))

        of_rank = Worker(waiting, bare_rss_bytes)
        if comm.rank == 0:
            lead(comm, requests, replies, of_rank)
        else:
            follow(comm, of_rank)
        of_rank.release()


if __name__ == "__main__":
    main()
