"""Whether this process may open the files that its workers need, told before anything is started."""

from collections.abc import Iterable

from bench.measurement.candidates import Candidate
from impls.errors import UserError

OF_A_WORKER = 3  # two pipes and a file for its last words …
OF_THE_REST = 24  # … and what the benchmark itself, pytest and the start of a worker need


def check_open_files(candidates: Iterable[Candidate]) -> None:
    """Raise UserError if the workers of a run need more open files than this process may have.

    Takes as many as the system allows it to, first: by default, macOS allows 256, and any number to whoever asks.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    workers, rates = set(), set()
    for candidate in candidates:
        workers.add(candidate.worker_key)
        rates.add((candidate.workload.dtype, candidate.workload.threads))
    needed = OF_A_WORKER * (len(workers) + 2 * len(rates)) + OF_THE_REST
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return
    if most != resource.RLIM_INFINITY and most < needed:
        raise UserError(
            f"expected to be allowed {needed} open files, for {len(workers)} workers beside each other, found {most}; "
            f"allow more (ulimit -n {needed}) or choose fewer rows with --impl"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
