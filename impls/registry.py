"""The registry of implementations: one table of names.

The module of an implementation is imported only when it is loaded, so that listing them imports nothing heavy. Third
parties add implementations by an entry point in the group `backprop_bench.implementations` or by path,
`path/to/file.py:Class`; all of them go through `Entry.load`.
"""

import difflib
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from impls.support.errors import RowError, Unavailable
from impls.support.loading import Target, load_target
from impls.support.mpiexec import no_mpiexec
from impls.support.needs import Needs, extra_command, make_command, no_compiler, no_gpu, pip_command, switched_off
from impls.support.text import one_line

if TYPE_CHECKING:
    from impls.interface import Implementation

ENTRY_POINTS = "backprop_bench.implementations"
RESERVED = ("control", "peak", "reference")  # labels of the benchmark's own rows
LABEL = re.compile(r"[\w.-]{1,40}")  # a name that a user gives to a row

NUMPY, COMPILED, RUST_CRATE, RANKS = "Python and NumPy", "Numba", "Rust", "MPI"  # families
FRAMEWORK, GPU, OTHER = "framework", "GPU", "other"


@dataclass(frozen=True)
class Entry:
    """One implementation as the registry knows it."""

    name: str  # and the label of its rows
    target: Target
    summary: str
    needs: Needs | None = None
    family: str = OTHER  # whose colours and marker it has in plots
    ranks: bool = False  # one process per core, started by mpiexec where there are several
    engine: str = ""  # the implementation that computes a rank's share, where any can
    unseen: str = ""  # what a sampling profiler of Python threads cannot show, even with one thread
    own_name: str = ""  # of the implementation, where `name` is a label that the user gave it
    tree: str = ""  # the folder with the `impls` that it is loaded from, if that is not today's

    @property
    def implementation(self) -> str:
        """Return the implementation's own name, whatever label it has."""
        return self.own_name or self.name

    @property
    def framework(self) -> bool:
        """Return whether this is a library that a user would pick instead, which is timed on request."""
        return self.family in (FRAMEWORK, GPU)

    @property
    def source(self) -> str:
        """Return the name of the file that the implementation is written in."""
        return self.target.path.name if self.target.path else f"{self.target.module.rpartition('.')[2]}.py"

    def unavailable(self) -> str | None:
        """Return why this implementation cannot run here, with what to do, or None. Imports nothing."""
        return self.needs.missing() if self.needs else None

    def load(self) -> "type[Implementation]":
        """Import and return the class.

        Raises Unavailable if an optional dependency is missing, RowError if it is not an Implementation; any other
        error of the module propagates.
        """
        reason = self.unavailable()
        if reason:
            raise Unavailable(f"{self.name} is unavailable: it {reason}")
        return load_target(self.target)


NUMBA = Needs(("numba",), lambda: pip_command("numba"), lambda: switched_off("Numba's compiler", "NUMBA_DISABLE_JIT"))
RUST = Needs(("backprop_bench_rust",), lambda: make_command("rust"), distribution="backprop-bench-rust")
RUST_TCH = Needs(
    ("backprop_bench_rust_tch",),
    lambda: make_command("rust-tch"),  # into an environment of its own
    distribution="backprop-bench-rust-tch",
)
TORCH = Needs(("torch",), lambda: extra_command("torch"))
TORCH_COMPILED = Needs(
    ("torch",),
    TORCH.command,
    lambda: no_compiler() or switched_off("torch.compile", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"),
)
TORCH_CUDA = Needs(("torch",), TORCH.command, no_gpu)
JAX = Needs(("jax",), lambda: extra_command("jax"), lambda: switched_off("JAX's compiler", "JAX_DISABLE_JIT"))
JAX_CUDA = Needs(("jax", "jax_plugins"), lambda: pip_command("'jax[cuda13]'"), lambda: no_gpu() or JAX.machine())
TENSORFLOW = Needs(("tensorflow",), lambda: extra_command("tensorflow"))
RUST_TENSORFLOW = Needs(
    ("backprop_bench_rust_tensorflow", "tensorflow"),
    lambda: make_command("rust-tensorflow"),
    distribution="backprop-bench-rust-tensorflow",
)
SCIKIT_LEARN = Needs(("sklearn",), lambda: pip_command("scikit-learn"))
MPI = Needs(("mpi4py",), lambda: extra_command("mpi"), no_mpiexec)
TORCH_DDP = Needs(("torch", "mpi4py"), lambda: extra_command("ddp"), no_mpiexec)


def _ours(
    name: str,
    class_name: str,
    summary: str,
    family: str,
    needs: Needs | None = None,
    unseen: str = "",
    *,
    file: str = "",
    ranks: bool = False,
    engine: str = "",
) -> Entry:
    """Return the entry of a class in the file of `impls/` that has its name, or in another one."""
    target = Target(f"impls.{file or name}", class_name)
    return Entry(name, target, summary, needs, family, ranks, engine, unseen)


ENTRIES = {
    entry.name: entry
    for entry in (
        _ours("pure_python", "PurePython", "lists and loops, no NumPy", NUMPY),
        _ours("per_example", "PerExample", "the book's loop, one example at a time; the baseline", NUMPY),
        _ours("batched_3d", "Batched3D", "stacks of column vectors through 3-D matmul", NUMPY),
        _ours("batched_2d", "Batched2D", "the mini-batch as a matrix, one GEMM per product", NUMPY),
        _ours("in_place", "InPlace", "2-D without temporaries, BLAS does the update", NUMPY),
        _ours("multithreaded", "Multithreaded", "mini-batch split over Python threads", NUMPY),
        _ours(
            "numba",
            "NumbaJit",
            "one compiled step, products by SciPy's BLAS",
            COMPILED,
            NUMBA,
            unseen="names of Numba's compiled functions",
        ),
        _ours(
            "rust_per_example",
            "RustPerExample",
            "the post's Rust, one example at a time",
            RUST_CRATE,
            RUST,
        ),
        _ours("rust_per_example_blas", "RustPerExampleBlas", "the same, SciPy's BLAS", RUST_CRATE, RUST),
        _ours("rust_batched", "RustBatched", "the post's Rust, batched", RUST_CRATE, RUST),
        _ours("rust_batched_blas", "RustBatchedBlas", "the same, SciPy's BLAS", RUST_CRATE, RUST),
        _ours("rust_batched_gemm", "RustBatchedGemm", "the same, the crate gemm", RUST_CRATE, RUST),
        _ours("rust_rayon", "RustRayon", "mini-batch split over rayon", RUST_CRATE, RUST),
        _ours("rust_candle", "RustCandle", "candle: layers, autograd, SGD, no Python", RUST_CRATE, RUST),
        _ours(
            "rust_fused",
            "RustFused",
            "blocked AVX-512/AVX2/NEON kernels, update fused in",
            RUST_CRATE,
            RUST,
        ),
        _ours(
            "mpi",
            "Mpi",
            "mini-batch split over MPI ranks, one Allreduce a step",
            RANKS,
            MPI,
            engine="in_place",
            ranks=True,
        ),
        _ours("torch", "Torch", "PyTorch: nn.Linear, autograd, optim.SGD", FRAMEWORK, TORCH),
        _ours(
            "torch_compiled",
            "TorchCompiled",
            "PyTorch: torch.func.grad and the update through torch.compile",
            FRAMEWORK,
            TORCH_COMPILED,
        ),
        _ours(
            "torch_cuda",
            "TorchCuda",
            "torch on an NVIDIA GPU",
            GPU,
            TORCH_CUDA,
            file="torch",
            unseen="the GPU, which computes",
        ),
        _ours(
            "torch_ddp",
            "TorchDdp",
            "PyTorch on several ranks: DistributedDataParallel over gloo",
            FRAMEWORK,
            TORCH_DDP,
            ranks=True,
        ),
        _ours(
            "rust_tch",
            "RustTch",
            "PyTorch from Rust: tch's layers, autograd and SGD, in .venv-tch",
            FRAMEWORK,
            RUST_TCH,
        ),
        _ours(
            "jax",
            "Jax",
            "JAX: jit of grad and update, donated buffers",
            FRAMEWORK,
            JAX,
            unseen="the threads of the library, on which it computes",
        ),
        _ours(
            "jax_cuda", "JaxCuda", "jax on an NVIDIA GPU", GPU, JAX_CUDA, file="jax", unseen="the GPU, which computes"
        ),
        _ours(
            "tensorflow",
            "TensorFlow",
            "TensorFlow: GradientTape and update in a tf.function",
            FRAMEWORK,
            TENSORFLOW,
            unseen="the threads of the library, on which it computes",
        ),
        _ours(
            "rust_tensorflow",
            "RustTensorFlow",
            "TensorFlow from Rust: a graph with its gradients, run by a session",
            FRAMEWORK,
            RUST_TENSORFLOW,
        ),
        _ours(
            "scikit_learn",
            "ScikitLearn",
            "MLPClassifier.partial_fit; its cost is the cross-entropy",
            FRAMEWORK,
            SCIKIT_LEARN,
        ),
    )
}


def entries() -> dict[str, Entry]:
    """Return all known implementations by name, third parties' entry points included. Imports none of them.

    An entry point whose name is taken, or can be no row's, is listed as unavailable, with its target in the name.
    """
    found = dict(ENTRIES)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        distribution = point.dist.name if point.dist else "?"
        package = re.split(r"[.:]", point.value)[0]
        needs = Needs(
            (package,), lambda: "the package that declares the entry point is not whole", distribution=distribution
        )
        name = point.name
        if name in found or name in RESERVED or not LABEL.fullmatch(name):
            needs = _another_name(name, point.value)
            name = one_line(f"{name} ({point.value})")
        found[name] = Entry(name, Target.parse(point.value), f"entry point of {distribution}", needs)
    return found


def _another_name(name: str, target: str) -> Needs:
    """Return what an entry point needs whose name is taken, or can be no row's."""
    if not LABEL.fullmatch(name):
        why = f"expected up to 40 letters, digits and _ . -, found {name[:80]!r}"
    else:
        why = f"{'a row of the benchmark' if name in RESERVED else 'an implementation'} is already called {name!r}"
    words = f"another name: {why}; rename the entry point {one_line(target)}"
    return Needs((), lambda: "", lambda: words)


def find(spec: str) -> Entry:
    """Return the entry for a name, for `path/to/file.py:Class`, or for either with a name of its own: `LABEL=…`.

    What stands before the first `=` is a label unless there is a `/` or a `:` in it. Imports nothing.
    """
    label, named = _parts(spec)
    entry = _find(named)
    if label is not None and label != entry.name:
        return replace(entry, name=_checked_label(label, spec), own_name=entry.name)
    if Target.parse(named).path and entry.name in entries():
        raise RowError(
            f"{spec}: an implementation is already called {entry.name!r}; rename the class or name the row, "
            f"as in mine={named}"
        )
    return entry


def find_all(specs: Iterable[str], reserved: Collection[str] = ()) -> list[Entry]:
    """Return the entries, one that is given twice only once. Imports nothing.

    Raises RowError if two of them have one name, or if one has a name that is `reserved` for rows of the caller's own.
    """
    found: dict[str, Entry] = {}
    for spec in specs:
        entry = find(spec)
        if entry.name in reserved:
            raise RowError(
                f"{spec}: {entry.name!r} is a row of the benchmark's own; name yours: mine={_parts(spec)[1]}"
            )
        other = found.setdefault(entry.name, entry)
        if other.target != entry.target:
            raise RowError(
                f"two rows would be called {entry.name!r}: {other.summary} and {entry.summary}; "
                f"name them, as in new={_parts(spec)[1]}"
            )
    return list(found.values())


def _find(spec: str) -> Entry:
    """Return the entry for a name or for `path/to/file.py:Class`."""
    target = Target.parse(spec)
    if target.path:
        if not spec.isprintable():  # nor are bytes in it that are no UTF-8
            raise RowError(f"{one_line(spec)}: expected a path and a class in printable letters; rename the file")
        if not target.path.is_file():
            raise RowError(f"{spec}: there is no file {target.path}")
        resolved = replace(target, module=str(target.path.resolve()))
        return Entry(target.class_name, resolved, f"from {target.path}")
    known = entries()
    row, _, engine = spec.partition("-")
    if row == "mpi" and engine in known and not known[engine].ranks:
        over = known["mpi"]
        needs = over.needs if over.unavailable() else known[engine].needs or over.needs
        target = replace(over.target, engine=engine)
        return replace(over, name=spec, target=target, summary=f"the same, {engine}", needs=needs, engine=engine)
    if spec not in known:
        if Path(spec).is_file():
            raise RowError(
                f"{one_line(spec)}: expected the name of an implementation or path/to/file.py:Class, found a file; "
                "backprop profile draws a recording, backprop plot a run"
            )
        near = difflib.get_close_matches(spec, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise RowError(f"unknown implementation {spec!r}; {hint} (or give path/to/file.py:Class)")
    return known[spec]


def _parts(spec: str) -> tuple[str | None, str]:
    """Return a specification's label, None if it has none, and what it names."""
    label, equals, named = spec.partition("=")
    return (label, named) if equals and not set(label) & set("/\\:") else (None, spec)


def _checked_label(label: str, spec: str) -> str:
    """Return a label that may name a row. Raises RowError."""
    if not LABEL.fullmatch(label):
        raise RowError(f"{spec}: expected a name of up to 40 letters, digits and _ . - before the =, found {label!r}")
    if label in entries():
        raise RowError(f"{spec}: an implementation is already called {label!r}; give the row another name")
    return label
