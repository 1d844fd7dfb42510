"""The worker: a process of its own that runs one implementation, alone on its cores.

`python -P -m bench.worker.main` reads requests from its standard input and writes replies to its standard output, one
JSON object a line; `bench.worker.protocol` declares them. Whatever the implementation prints goes to standard error, so
it cannot break the protocol.
"""

import contextlib
import os
from io import FileIO
from typing import IO

import msgspec

from bench.records import Outcome
from bench.system import processes
from bench.worker import protocol
from bench.worker.handlers import Refused, Worker
from bench.worker.replies import waiting


def take_standard_streams() -> tuple[FileIO, IO[bytes]]:
    """Return the streams of requests and replies; the implementation prints to standard error and reads nothing."""
    replies = os.fdopen(os.dup(1), "wb")
    requests = FileIO(os.dup(0))  # without a buffer, so that `waiting` sees what is not read yet
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return requests, replies


def answered(worker: Worker, line: bytes) -> protocol.Reply:
    """Return the reply to a request as it came; a failure, whatever happens."""
    try:
        return worker.answer(msgspec.json.decode(line, type=protocol.AnyRequest))
    except Refused as refused:
        return refused.failure
    except BaseException as error:  # Even SystemExit is a failure of the implementation.
        from impls.support.tracebacks import in_words, whole

        return protocol.Failure(Outcome.CRASHED, in_words(error), whole(error))


def main() -> None:
    """Answer requests until standard input ends."""
    bare_rss_bytes = processes.resident_bytes("VmRSS")  # as early as can be
    processes.die_with_the_parent()
    processes.adopt_orphans()
    requests, replies = take_standard_streams()
    worker = Worker(lambda: waiting(requests), bare_rss_bytes)
    for line in requests:
        replies.write(msgspec.json.encode(answered(worker, line)) + b"\n")
        replies.flush()
    with contextlib.suppress(Exception):
        worker.release()


if __name__ == "__main__":
    main()
