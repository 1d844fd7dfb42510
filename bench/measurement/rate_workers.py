"""The workers that rows are measured against: they sample the peak and the reference rate beside the rows.

There is one for each kind of rate, dtype and number of threads, for the whole run: no luck of a process's memory shows
in multiply-adds in registers, hardly any in the product of large matrices.
"""

from collections.abc import Mapping, Sequence

from bench.cpus import cores, places
from bench.measurement.candidates import Candidate, WorkerKey
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.protocol import PreparedRate, PrepareRate, Start, Started
from bench.records import Process, Rate, Row, Settings, Workload
from impls.registry import Entry

PEAK, REFERENCE = KINDS = "peak", "reference"  # of the cores in use; what a library reaches


class RateWorkers:
    """The rates of all workloads, with their workers."""

    def __init__(self, candidates: Mapping[str, Sequence[Candidate]], settings: Settings) -> None:
        """Take the candidates of the rows by workload name."""
        self.workers: dict[WorkerKey, WorkerProcess] = {}
        self._settings = settings
        self._rates = {(name, kind): _rate(of[0].workload, kind) for name, of in candidates.items() for kind in KINDS}
        self._prepared: dict[WorkerKey, PreparedRate] = {}

    def ready(self, workload: Workload, generation: int) -> list[Candidate]:
        """Return the rates of a workload, those that can be sampled."""
        rates = [self._rates[workload.name, kind] for kind in KINDS]
        return [rate for rate in rates if rate.row.open and self._prepare(rate, generation)]

    def rate(self, workload: str, kind: str) -> Rate | str:
        """Return the samples of the "peak" or the "reference" rate of a workload, or in words why there are none."""
        rate = self._rates[workload, kind]
        prepared = self._prepared.get(rate.worker_key)
        if prepared is None or not rate.row.open or not any(rate.row.samples):
            return rate.row.reason or "it was not sampled"
        return Rate(prepared.what, prepared.flops, rate.row.processes)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def _prepare(self, rate: Candidate, generation: int) -> bool:
        """Have a worker that can sample the rate; return whether there is one."""
        key, alive = rate.worker_key, self.workers.get(rate.worker_key)
        try:
            if alive is None or not alive.alive:
                self._start(rate, generation)
        except WorkerFailed as failure:
            if key in self.workers:
                self.workers.pop(key).close()
            rate.fail(failure)
            return False
        rate.calibrated(self._prepared[key])
        rate.row.processes.append(Process(generation, self._prepared[key].calls))
        return True

    def _start(self, rate: Candidate, generation: int) -> None:
        """Start and prepare a worker; how the rate is reached is chosen once per run. Raises WorkerFailed."""
        key, chosen = rate.worker_key, self._prepared.get(rate.worker_key)
        worker = self.workers[key] = WorkerProcess(rate.threads, places(cores(), generation), self._settings.time_out)
        worker.ask(Start(""), Started)
        worker.confine(places(rate.threads, generation))
        request = PrepareRate(
            kind=rate.label,
            dtype=rate.workload.dtype,
            threads=rate.threads,
            choice=chosen.choice if chosen else "",
            sample_seconds=self._settings.sample_seconds,
        )
        self._prepared[key] = worker.ask(request, PreparedRate)


def _rate(workload: Workload, kind: str) -> Candidate:
    row = Row(workload.name, kind, kind, workload.threads)
    return Candidate(workload, Entry(f"{kind} {workload.dtype}", "", ""), row)
