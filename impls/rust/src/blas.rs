//! Products of ndarray's matrices: by ndarray itself, by the `gemm` crate, or by a BLAS given as a C function pointer.
//!
//! SciPy publishes the BLAS that it ships as C function pointers (`scipy.linalg.cython_blas`). The same Rust code can
//! so call the very OpenBLAS that Python calls, and what differs is the language; or ndarray's own matrixmultiply; or
//! `gemm`, what faer and candle multiply with: how near pure Rust comes to a BLAS today.

use crate::network::Real;
use ndarray::{Array2, ArrayView2};
use std::ffi::{c_char, c_int};

/// Fortran's xGEMM: C := alpha * op(A) op(B) + beta * C, all matrices column by column.
pub type Gemm<T> = unsafe extern "C" fn(
    trans_a: *const c_char,
    trans_b: *const c_char,
    m: *const c_int,
    n: *const c_int,
    k: *const c_int,
    alpha: *const T,
    a: *const T,
    lda: *const c_int,
    b: *const T,
    ldb: *const c_int,
    beta: *const T,
    c: *mut T,
    ldc: *const c_int,
);

/// Who multiplies matrices.
#[derive(Clone, Copy)]
pub enum Products<T> {
    Ndarray,
    Gemm,
    Blas(Blas<T>),
}

impl<T: Real> Products<T> {
    pub fn dot(&self, a: ArrayView2<T>, b: ArrayView2<T>) -> Array2<T> {
        match self {
            Self::Ndarray => a.dot(&b),
            Self::Gemm => gemm_dot(a, b),
            Self::Blas(blas) => blas.dot(a, b),
        }
    }
}

/// The product by the `gemm` crate, on this thread; it takes any strides.
fn gemm_dot<T: Real>(a: ArrayView2<T>, b: ArrayView2<T>) -> Array2<T> {
    assert_eq!(a.ncols(), b.nrows());
    let (m, n, k) = (a.nrows(), b.ncols(), a.ncols());
    let mut c = Array2::zeros((m, n));
    let [c_down, c_right] = [c.strides()[0], c.strides()[1]];
    // SAFETY: all three matrices have the sizes and strides that are given, and nothing else refers to c.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_right,
            c_down,
            false, // c is written only
            a.as_ptr(),
            a.strides()[1],
            a.strides()[0],
            b.as_ptr(),
            b.strides()[1],
            b.strides()[0],
            T::zero(), // of c
            T::one(),  // of a b
            false,
            false,
            false, // nothing is conjugated
            gemm::Parallelism::None,
        );
    }
    c
}

/// A BLAS library's xGEMM for T.
#[derive(Clone, Copy)]
pub struct Blas<T>(Gemm<T>);

impl<T: Real> Blas<T> {
    /// # Safety
    /// `gemm` must be xGEMM for T with 32-bit integers, callable from any thread.
    pub unsafe fn new(gemm: Gemm<T>) -> Self {
        Self(gemm)
    }

    fn dot(&self, a: ArrayView2<T>, b: ArrayView2<T>) -> Array2<T> {
        assert_eq!(a.ncols(), b.nrows());
        let mut c = Array2::zeros((a.nrows(), b.ncols()));
        if let (Some((trans_a, lda)), Some((trans_b, ldb))) = (layout(&a), layout(&b)) {
            let (m, n, k) = (size(a.nrows()), size(b.ncols()), size(a.ncols()));
            // Row by row, C is C^T column by column: C^T = B^T A^T.
            // SAFETY: `layout` vouches for A and B, and c is contiguous, (m, n) row by row; see `new` for the rest.
            unsafe {
                (self.0)(
                    &trans_b,
                    &trans_a,
                    &n,
                    &m,
                    &k,
                    &T::one(),
                    b.as_ptr(),
                    &ldb,
                    a.as_ptr(),
                    &lda,
                    &T::zero(),
                    c.as_mut_ptr(),
                    &n,
                );
            }
            return c;
        }
        self.dot(a.as_standard_layout().view(), b.as_standard_layout().view())
    }
}

/// What Fortran is told of a matrix that lies row by row, or of one that lies column by column: whether to transpose
/// it, and how far its rows or columns are apart. None if it lies neither way.
fn layout<T>(a: &ArrayView2<T>) -> Option<(c_char, c_int)> {
    let (rows, columns) = a.dim();
    let (down, right) = (a.strides()[0], a.strides()[1]);
    let apart = |stride: isize, count: usize, length: usize| {
        let stride = if count > 1 { usize::try_from(stride).ok()? } else { length };
        (stride >= length).then(|| size(stride.max(1)))
    };
    if (columns <= 1 || right == 1)
        && let Some(apart) = apart(down, rows, columns)
    {
        return Some((b'N' as c_char, apart));
    }
    if (rows <= 1 || down == 1)
        && let Some(apart) = apart(right, columns, rows)
    {
        return Some((b'T' as c_char, apart));
    }
    None
}

fn size(n: usize) -> c_int {
    c_int::try_from(n).expect("BLAS counts in 32 bits; sizes are checked when a network is made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Axis, ShapeBuilder, array, s};

    #[test]
    fn layouts_of_views() {
        let a = Array2::<f64>::zeros((3, 5));
        let (no, yes) = (b'N' as c_char, b'T' as c_char);
        assert_eq!(layout(&a.view()), Some((no, 5)));
        assert_eq!(layout(&a.t()), Some((yes, 5)));
        assert_eq!(layout(&a.slice(s![.., 1..3])), Some((no, 5)));
        assert_eq!(layout(&a.slice(s![1, ..]).insert_axis(Axis(1))), Some((no, 1)));
        assert_eq!(layout(&a.slice(s![.., ..;2])), None);
        assert_eq!(layout(&Array2::<f64>::zeros((3, 5).f()).view()), Some((yes, 3)));
    }

    /// Fortran's DGEMM in ten lines, for alpha = 1 and beta = 0.
    ///
    /// # Safety
    /// The matrices must be as DGEMM wants them.
    unsafe extern "C" fn dgemm(
        trans_a: *const c_char,
        trans_b: *const c_char,
        m: *const c_int,
        n: *const c_int,
        k: *const c_int,
        _: *const f64,
        a: *const f64,
        lda: *const c_int,
        b: *const f64,
        ldb: *const c_int,
        _: *const f64,
        c: *mut f64,
        ldc: *const c_int,
    ) {
        // SAFETY: the caller passes matrices as DGEMM wants them.
        unsafe {
            let at = |x: *const f64, trans: c_char, ld: c_int, i: c_int, j: c_int| {
                *x.offset(if trans == b'N' as c_char { i + j * ld } else { j + i * ld } as isize)
            };
            for (i, j) in (0..*m).flat_map(|i| (0..*n).map(move |j| (i, j))) {
                let sum = (0..*k).map(|l| at(a, *trans_a, *lda, i, l) * at(b, *trans_b, *ldb, l, j)).sum();
                *c.offset((i + j * *ldc) as isize) = sum;
            }
        }
    }

    #[test]
    fn products_of_all_layouts() {
        // SAFETY: it is DGEMM as far as it is used.
        let blas = unsafe { Blas::new(dgemm) };
        let (a, b) = (array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], array![[1.0, 0.5], [2.0, -1.0], [3.0, 4.0]]);
        let wide = array![[1.0, 9.0, 2.0, 9.0, 3.0], [4.0, 9.0, 5.0, 9.0, 6.0]];
        let (a_f, b_f) = (a.t().as_standard_layout().to_owned(), b.t().as_standard_layout().to_owned());
        for a_view in [a.view(), a_f.t(), wide.slice(s![.., ..;2])] {
            for b_view in [b.view(), b_f.t()] {
                assert_eq!(blas.dot(a_view, b_view), a.dot(&b));
                assert_eq!(Products::Gemm.dot(a_view, b_view), a.dot(&b));
            }
        }
    }
}
