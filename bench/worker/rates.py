"""What implementations are measured against: the peak of the cores in use, and the rate of NumPy's large product.

The peak is how many multiply-adds a second the cores can do when nothing else is asked of them. A few instructions,
called through ctypes: independent accumulators that stay in registers, so that neither latency nor memory holds them
up. No implementation that multiplies matrices can be faster than that. Each accumulator starts at 0 and becomes 1 *
itself + 1 again and again: at the end every lane has counted how often it was done, so a peak that claims more
operations than were made is found out.

The machine code of AVX-512, made by `as` from this text; the others differ in names and numbers of registers only:

        movabs rax, 0x3ff0000000000000; vmovq xmm14, rax         # 1.0
        vbroadcastsd zmm14, xmm14; vmovapd zmm15, zmm14
        vxorps xmm0, xmm0, xmm0; …; vxorps xmm11, xmm11, xmm11   # the accumulators
    again:
        vfmadd213pd zmm0, zmm14, zmm15; …; vfmadd213pd zmm11, zmm14, zmm15
        dec rdi; jnz again
        vmovups [rsi], zmm0; …; vmovups [rsi+704], zmm11
        vzeroupper; ret
"""

import ctypes
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench.worker.timing import TimedCall
from bench.workloads import Call
from impls.interface import Array
from impls.support.errors import Unavailable

MACHINE_CODE = {
    ("avx512", "float64"): (
        "48b8000000000000f03fc461f96ef06252fd4819f66251fd4828fec5f857c0c5f057c9c5e857d2c5e057dbc5d857e4c5d057edc5c857"
        "f6c5c057ffc4413857c0c4413057c9c4412857d2c4412057db62d28d48a8c762d28d48a8cf62d28d48a8d762d28d48a8df62d28d48a8"
        "e762d28d48a8ef62d28d48a8f762d28d48a8ff62528d48a8c762528d48a8cf62528d48a8d762528d48a8df48ffcf75b362f17c481106"
        "62f17c48114e0162f17c4811560262f17c48115e0362f17c4811660462f17c48116e0562f17c4811760662f17c48117e0762717c4811"
        "460862717c48114e0962717c4811560a62717c48115e0bc5f877c3"
    ),
    ("avx512", "float32"): (
        "b80000803fc5796ef062527d4818f662517c4828fec5f857c0c5f057c9c5e857d2c5e057dbc5d857e4c5d057edc5c857f6c5c057ffc4"
        "413857c0c4413057c9c4412857d2c4412057db62d20d48a8c762d20d48a8cf62d20d48a8d762d20d48a8df62d20d48a8e762d20d48a8"
        "ef62d20d48a8f762d20d48a8ff62520d48a8c762520d48a8cf62520d48a8d762520d48a8df48ffcf75b362f17c48110662f17c48114e"
        "0162f17c4811560262f17c48115e0362f17c4811660462f17c48116e0562f17c4811760662f17c48117e0762717c4811460862717c48"
        "114e0962717c4811560a62717c48115e0bc5f877c3"
    ),
    ("avx2", "float64"): (
        "48b8000000000000f03fc461f96ef0c4427d19f6c4417d28fec5f857c0c5f057c9c5e857d2c5e057dbc5d857e4c5d057edc5c857f6c5"
        "c057ffc4413857c0c4413057c9c4412857d2c4412057dbc4c28da8c7c4c28da8cfc4c28da8d7c4c28da8dfc4c28da8e7c4c28da8efc4"
        "c28da8f7c4c28da8ffc4428da8c7c4428da8cfc4428da8d7c4428da8df48ffcf75bfc5fc1106c5fc114e20c5fc115640c5fc115e60c5"
        "fc11a680000000c5fc11aea0000000c5fc11b6c0000000c5fc11bee0000000c57c118600010000c57c118e20010000c57c1196400100"
        "00c57c119e60010000c5f877c3"
    ),
    ("avx2", "float32"): (
        "b80000803fc5796ef0c4427d18f6c4417c28fec5f857c0c5f057c9c5e857d2c5e057dbc5d857e4c5d057edc5c857f6c5c057ffc44138"
        "57c0c4413057c9c4412857d2c4412057dbc4c20da8c7c4c20da8cfc4c20da8d7c4c20da8dfc4c20da8e7c4c20da8efc4c20da8f7c4c2"
        "0da8ffc4420da8c7c4420da8cfc4420da8d7c4420da8df48ffcf75bfc5fc1106c5fc114e20c5fc115640c5fc115e60c5fc11a6800000"
        "00c5fc11aea0000000c5fc11b6c0000000c5fc11bee0000000c57c118600010000c57c118e20010000c57c119640010000c57c119e60"
        "010000c5f877c3"
    ),
    ("neon", "float64"): (
        "1ef6036f1ff6036f00e4006f01e4006f02e4006f03e4006f04e4006f05e4006f06e4006f07e4006f10e4006f11e4006f12e4006f13e4"
        "006f14e4006f15e4006f16e4006f17e4006f18e4006f19e4006f1ae4006f1be4006f1ce4006f1de4006fc0cf7f4ec1cf7f4ec2cf7f4e"
        "c3cf7f4ec4cf7f4ec5cf7f4ec6cf7f4ec7cf7f4ed0cf7f4ed1cf7f4ed2cf7f4ed3cf7f4ed4cf7f4ed5cf7f4ed6cf7f4ed7cf7f4ed8cf"
        "7f4ed9cf7f4edacf7f4edbcf7f4edccf7f4eddcf7f4e000400f121fdff542000803d2104803d2208803d230c803d2410803d2514803d"
        "2618803d271c803d3020803d3124803d3228803d332c803d3430803d3534803d3638803d373c803d3840803d3944803d3a48803d3b4c"
        "803d3c50803d3d54803dc0035fd6"
    ),
    ("neon", "float32"): (
        "1ef6034f1ff6034f00e4006f01e4006f02e4006f03e4006f04e4006f05e4006f06e4006f07e4006f10e4006f11e4006f12e4006f13e4"
        "006f14e4006f15e4006f16e4006f17e4006f18e4006f19e4006f1ae4006f1be4006f1ce4006f1de4006fc0cf3f4ec1cf3f4ec2cf3f4e"
        "c3cf3f4ec4cf3f4ec5cf3f4ec6cf3f4ec7cf3f4ed0cf3f4ed1cf3f4ed2cf3f4ed3cf3f4ed4cf3f4ed5cf3f4ed6cf3f4ed7cf3f4ed8cf"
        "3f4ed9cf3f4edacf3f4edbcf3f4edccf3f4eddcf3f4e000400f121fdff542000803d2104803d2208803d230c803d2410803d2514803d"
        "2618803d271c803d3020803d3124803d3228803d332c803d3430803d3534803d3638803d373c803d3840803d3944803d3a48803d3b4c"
        "803d3c50803d3d54803dc0035fd6"
    ),
}
FEATURES = {"avx512": {"avx512f"}, "avx2": {"avx2", "fma"}, "neon": {"asimd"}}  # as in /proc/cpuinfo
NAMES = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}
REGISTER_BYTES = {"avx512": 64, "avx2": 32, "neon": 16}
ACCUMULATORS = {"avx512": 12, "avx2": 12, "neon": 22}
SIZES = (256, 384, 512, 768)  # of the square matrices that are tried; the one with the highest rate is kept …
LARGE_SIZES = (1024, 1536)  # … on several threads, which need larger ones
BETTER = 1.01  # times the rate of a smaller size, for a larger one to be kept
TRIALS = 3  # of each choice
ITERATIONS = 1 << 21  # of a call, in every process alike: some ms; float32 counts exactly up to 2^24


@dataclass(frozen=True)
class Kernel:
    """Machine code that does multiply-adds in registers."""

    name: str  # of the instruction set, a key of NAMES
    dtype: str
    function: Callable[[int, int], None]  # of the iterations, and of the address that the accumulators go to
    code: mmap.mmap  # that the function lies in

    @property
    def lanes(self) -> int:
        """Return the multiply-adds of one iteration."""
        return ACCUMULATORS[self.name] * REGISTER_BYTES[self.name] // np.dtype(self.dtype).itemsize

    def run(self, iterations: int) -> Array:
        """Run so many iterations; return what each lane has counted, (lanes,)."""
        counts = np.zeros(self.lanes, self.dtype)
        self.function(iterations, counts.ctypes.data)
        return counts


@dataclass(frozen=True)
class Peak:
    """A kernel on several threads at once; each call does `flops` operations on all of them together."""

    kernel: Kernel
    threads: int
    iterations: int
    pool: ThreadPoolExecutor

    @property
    def flops(self) -> int:
        """Return the operations of a call, two for each multiply-add."""
        return 2 * self.kernel.lanes * self.iterations * self.threads

    def __call__(self) -> None:
        """Run the kernel on all threads and wait for them; raise RuntimeError if one of them did not do all of it."""
        started = [self.pool.submit(self.kernel.run, self.iterations) for _ in range(self.threads - 1)]
        for counts in (self.kernel.run(self.iterations), *(future.result() for future in started)):
            if not np.all(counts == self.iterations):
                raise RuntimeError(f"expected {self.iterations} multiply-adds in each lane, counted {counts.min():.0f}")


def kernels(dtype: str) -> list[Kernel]:
    """Return the kernels that this processor can run. Raises Unavailable, with the reason, if there is none."""
    names = [name for name, needed in FEATURES.items() if needed <= features()]
    if "sve" in features():
        raise Unavailable("this processor has SVE, whose multiply-adds are not known here and may be wider than NEON's")
    if not names or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise Unavailable("no multiply-add instructions that are known here: AVX-512, AVX2 with FMA, NEON (on Linux)")
    return [_loaded(name, dtype) for name in names]


@cache
def features() -> frozenset[str]:
    """Return what the processor can do, in Linux's words; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(flags, "").split())


def _loaded(name: str, dtype: str) -> Kernel:
    """Return a kernel in memory that can be executed. Raises Unavailable where the system allows none."""
    code = bytes.fromhex(MACHINE_CODE[name, dtype])
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        memory.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        if libc.mprotect(address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "mprotect")
    except OSError as error:
        raise Unavailable(f"the system refuses memory that can be executed: {error}") from error
    function = ctypes.CFUNCTYPE(None, ctypes.c_long, ctypes.c_void_p)(address)  # gives the GIL away meanwhile
    return Kernel(name, dtype, function, memory)


@dataclass(frozen=True)
class TimedRate:
    """A call whose floating-point operations are known, ready to be timed."""

    what: str  # the call does, in words
    flops: int
    call_seconds: float
    timed: TimedCall

    @property
    def flops_per_second(self) -> float:
        """Return the rate as it was calibrated."""
        return self.flops / self.call_seconds


def prepare(kind: str, dtype: str, threads: int, sample_seconds: float) -> TimedRate:
    """Return the fastest way to the "peak" or the "reference" rate.

    Raises Unavailable if the peak cannot be measured here.
    """
    if kind == "peak":
        peaks = [_peak(kernel, threads, sample_seconds) for kernel in kernels(dtype)]
        return max(peaks, key=lambda rate: rate.flops_per_second)
    sizes = [*SIZES, *(LARGE_SIZES if threads > 1 else ())]
    best, *larger = (_product(size, dtype, threads, sample_seconds) for size in sizes)
    for rate in larger:
        if rate.flops_per_second > BETTER * best.flops_per_second:
            best = rate
    return best


def _product(size: int, dtype: str, threads: int, sample_seconds: float) -> TimedRate:
    """Prepare the product of two (size, size) matrices, into a third one: 2 size^3 operations."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size)).astype(dtype) for _ in range(2))  # (size, size)
    what = f"NumPy's product of two {size} x {size} matrices"
    return _calibrated(what, 2 * size**3, (np.matmul, (a, b, np.empty_like(a))), threads, sample_seconds)


def _peak(kernel: Kernel, threads: int, sample_seconds: float) -> TimedRate:
    """Prepare multiply-adds in registers, on all threads at once; as many in every process, so that one rate holds."""
    peak = Peak(kernel, threads, ITERATIONS, ThreadPoolExecutor(threads))
    return _calibrated(
        f"{NAMES[kernel.name]} multiply-adds in registers", peak.flops, (peak, ()), threads, sample_seconds
    )


def _calibrated(what: str, flops: int, call: Call, threads: int, sample_seconds: float) -> TimedRate:
    timed = TimedCall(call, threads)
    return TimedRate(what, flops, min(timed.calibrate(sample_seconds) for _ in range(TRIALS)), timed)
