"""What `numba` computes with: products by SciPy's BLAS, in the blocks that it is fastest with, and exp in vectors.

The BLAS is called through the C function pointer that SciPy publishes.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic, overload
from threadpoolctl import threadpool_info

from impls.interface import Array
from impls.support.aligned import CACHE_LINE

NO, YES = ord("N"), ord("T")  # whether a factor is to be transposed, in BLAS's letters

# OpenBLAS's kernels for AVX-512 compute a product of up to so many multiply-adds from where its factors lie. A larger
# one is packed first, and with a factor of a few dozen rows this takes up to half of the time.
UNPACKED = 100**3
WITH_UNPACKED = ("SkylakeX", "Cooperlake", "SapphireRapids")  # as OpenBLAS names the kernels: Zen 4 has SkylakeX's

SMALL = 300_000  # multiply-adds of a product up to which cutting it costs as much as it gains

# The blocks that were fastest of those tried: rows and columns of the result, and terms of its sums in one product. In
# the forward product a term is a column of both factors: few enough that rows of a block stay in the first-level cache.
FORWARD_ROWS, FORWARD_COLUMNS, FORWARD_BYTES = 128, 8, 3200
FEW_ROWS, COLUMNS_OF_FEW, BYTES_OF_FEW = 32, 64, 2048  # the same where there are no more rows than this
BACKWARD_ROWS, BACKWARD_TERMS = 96, 128
UPDATE_ROWS, UPDATE_TERMS = 60, 256
COLUMNS = 64  # of the last two at least, and a multiple of this


def gemm_address(dtype: np.dtype[Any]) -> int:
    """Return the address of SciPy's product of matrices of float64 or float32."""
    name = "dgemm" if dtype == np.float64 else "sgemm"
    return int(get_cython_function_address("scipy.linalg.cython_blas", name))


def largest_block() -> int:
    """Return the most multiply-adds of one product; 0 where whole products are faster, however large."""
    kernels = {pool.get("architecture") for pool in threadpool_info() if pool["internal_api"] == "openblas"}
    return UNPACKED if kernels and kernels <= set(WITH_UNPACKED) else 0


@njit(cache=True)
def multiply(
    gemm: int, alpha: float, a: Array, transpose_a: int, b: Array, transpose_b: int, beta: float, c: Array, block: int
) -> None:
    """c = alpha * op(a) op(b) + beta * c, with rows of all three contiguous.

    A `block` of `UNPACKED` is what no product may exceed; 0 cuts nothing.
    """
    rows, columns = c.shape
    terms = a.shape[1] if transpose_a == NO else a.shape[0]
    if block == 0 or rows * columns * terms <= min(SMALL, block):
        whole(gemm, alpha, a, transpose_a, b, transpose_b, beta, c)
        return
    if transpose_b == YES and rows <= FEW_ROWS:
        height, depth = rows, even_part(terms, BYTES_OF_FEW // c.itemsize, c.itemsize)
        width = max(1, min(COLUMNS_OF_FEW, block // (height * depth)))
    elif transpose_b == YES:
        height, width, depth = FORWARD_ROWS, FORWARD_COLUMNS, even_part(terms, FORWARD_BYTES // c.itemsize, c.itemsize)
    else:
        most_rows, most_terms = (UPDATE_ROWS, UPDATE_TERMS) if transpose_a == YES else (BACKWARD_ROWS, BACKWARD_TERMS)
        height, depth = min(rows, most_rows), min(terms, most_terms)
        width = max(1, block // (height * depth) // COLUMNS) * COLUMNS
    for k in range(0, terms, depth):
        for i in range(0, rows, height):
            left = a[k : k + depth, i : i + height] if transpose_a == YES else a[i : i + height, k : k + depth]
            for j in range(0, columns, width):
                right = b[j : j + width, k : k + depth] if transpose_b == YES else b[k : k + depth, j : j + width]
                whole(gemm, alpha, left, transpose_a, right, transpose_b, beta, c[i : i + height, j : j + width])
        beta = c.dtype.type(1)


@njit(cache=True)
def even_part(terms: int, most: int, itemsize: int) -> int:
    """Return how many terms each part has, of as few parts as can be with at most so many: whole cache lines."""
    parts = (terms + most - 1) // most
    lanes = CACHE_LINE // itemsize
    return ((terms + parts - 1) // parts + lanes - 1) // lanes * lanes


@njit(cache=True)
def whole(
    gemm: int, alpha: float, a: Array, transpose_a: int, b: Array, transpose_b: int, beta: float, c: Array
) -> None:
    """c = alpha * op(a) op(b) + beta * c, in one product.

    BLAS is Fortran and sees each of them as its transpose: it is told to compute c^T from op(b)^T and op(a)^T.
    """
    rows, columns = c.shape
    depth = a.shape[1] if transpose_a == NO else a.shape[0]
    call(gemm, transpose_b, transpose_a, columns, rows, depth, alpha, b, a, beta, c)


@intrinsic
def call(
    _typing: Any, gemm: Any, trans_a: Any, trans_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, b: Any,
    beta: Any, c: Any,
) -> Any:  # fmt: skip
    """Call Fortran's xGEMM at the address `gemm`; everything goes to it by reference."""
    signature = types.void(gemm, trans_a, trans_b, m, n, k, alpha, a, b, beta, c)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *letters, m, n, k, alpha, a, b, beta, c = arguments
        *_, a_type, b_type, _, c_type = signature.args

        def reference(value: Any) -> Any:
            return cgutils.alloca_once_value(builder, value)

        def integer(value: Any) -> Any:
            return reference(builder.trunc(value, cgutils.int32_t))

        def matrix(array_type: Any, value: Any) -> tuple[Any, Any]:
            array = context.make_array(array_type)(context, builder, value)
            row = builder.extract_value(array.strides, 0)  # in bytes
            return array.data, integer(builder.sdiv(row, array.itemsize))

        references = [reference(builder.trunc(letter, cgutils.int8_t)) for letter in letters]
        references += [integer(m), integer(n), integer(k), reference(alpha), *matrix(a_type, a)]
        references += [*matrix(b_type, b), reference(beta), *matrix(c_type, c)]
        function_type = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [argument.type for argument in references])
        builder.call(builder.inttoptr(address, function_type.as_pointer()), references)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_at_once(_typing: Any, array: Any, value: Any) -> Any:
    """Add to the first number of an array of int64 and return what it was, with no other thread in between."""
    signature = types.int64(array, value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, arguments[1], "seq_cst")

    return signature, generate


@intrinsic
def prefetch(_typing: Any, array: Any, index: Any) -> Any:
    """Have the row of `array` at `index` brought to the second-level cache, without waiting for it."""
    signature = types.void(array, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        row = builder.extract_value(array.strides, 0)  # in bytes
        start = builder.mul(arguments[1], row)
        byte = builder.bitcast(array.data, cgutils.voidptr_t)
        flags = [cgutils.int32_t(flag) for flag in (0, 2, 1)]  # to read, second level, data
        function_type = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [byte.type, *(flag.type for flag in flags)])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        with cgutils.for_range_slice(builder, row.type(0), row, row.type(CACHE_LINE)) as (offset, _):
            builder.call(function, [builder.gep(byte, [builder.add(start, offset)]), *flags])
        return context.get_dummy_value()

    return signature, generate


# exp(x) = 2^n * exp(r), with n the whole number next to x / ln 2, |r| <= ln(2) / 2, and exp(r) a polynomial, minimax in
# relative error; as in `rust/src/fused/elements.rs`. NumPy's exp stays a call for each number; this the compiler puts
# into vectors. Adding 1.5 * 2^(mantissa bits) rounds to a whole number; with the exponent's bias in the sum, too, the
# bits of 2^n are at the low end.
LOG2_E = 1.4426950408889634
SHIFT, SHIFT_F32 = 1.5 * 2**52 + 1023, np.float32(1.5 * 2**23 + 127)
LN_2 = (0.6931471803691238, 1.9082149292705877e-10)  # as a sum, the first with so few digits that n times it is exact
LN_2_F32 = (np.float32(0.6933594), np.float32(-2.1219444e-4))
EXP = (  # of x^1, x^2, …; that of x^0 is 1; relative error 1.8e-17
    1.0000000000000006, 0.5000000000000006, 0.16666666666657265, 0.04166666666657326, 0.008333333337728656,
    0.001388888893247099, 0.00019841261474607823, 2.48015043455993e-5, 2.756426191046454e-6, 2.76263654967954e-7,
    2.2981327629803855e-8,
)  # fmt: skip
EXP_F32 = tuple(map(np.float32, (1.00000005, 0.50000004, 0.16666365, 0.04166477, 0.008379059, 0.0014061422)))  # 2.6e-9


def exp(x: Any) -> Any:
    """Return e^x where that is finite and normal, within 2 units in the last place; NaN for NaN. For compiled code."""
    raise NotImplementedError


@overload(exp, jit_options={"fastmath": {"contract"}})  # a * b + c may be one operation
def _exp(x: Any) -> Any:
    return _exp_float64 if x == types.float64 else _exp_float32


def _exp_float64(x: Any) -> Any:
    shifted = x * LOG2_E + SHIFT
    n = shifted - SHIFT
    r = (x - n * LN_2[0]) - n * LN_2[1]
    p = EXP[-1]
    for i in range(len(EXP) - 2, -1, -1):
        p = p * r + EXP[i]
    return (p * r + 1.0) * np.int64(np.float64(shifted).view(np.int64) << np.int64(52)).view(np.float64)


def _exp_float32(x: Any) -> Any:
    shifted = x * np.float32(LOG2_E) + SHIFT_F32
    n = shifted - SHIFT_F32
    r = (x - n * LN_2_F32[0]) - n * LN_2_F32[1]
    p = EXP_F32[-1]
    for i in range(len(EXP_F32) - 2, -1, -1):
        p = p * r + EXP_F32[i]
    power = np.int32(np.float32(shifted).view(np.int32) << np.int32(23)).view(np.float32)
    return (p * r + np.float32(1.0)) * power
