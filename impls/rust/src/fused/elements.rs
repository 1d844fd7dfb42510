//! The element-wise passes, in vectors.

use super::simd::{Kernel, Simd};
use crate::network::Real;

/// 1 / (1 + exp(-z)) of each lane, within 3 units in the last place of it; NaN for NaN.
///
/// exp(x) = 2^n * exp(r), with n the whole number next to x / ln 2, |r| <= ln(2) / 2, and exp(r) a polynomial. |z| is
/// bounded to where 2^n is a normal number.
#[inline(always)]
pub fn sigmoid<T: Real, S: Simd<T>>(simd: S, z: S::Vector) -> S::Vector {
    let limit = simd.splat(T::EXP_LIMIT);
    let x = simd.sub(simd.splat(T::zero()), z);
    let x = simd.max(simd.splat(-T::EXP_LIMIT), simd.min(limit, x));
    let shift = simd.splat(T::EXPONENT_SHIFT);
    let shifted = simd.fma(x, simd.splat(T::of(std::f64::consts::LOG2_E)), shift);
    let n = simd.sub(shifted, shift);
    let r = simd.fma(n, simd.splat(-T::LN_2.0), x);
    let r = simd.fma(n, simd.splat(-T::LN_2.1), r);
    let mut p = simd.splat(T::EXP[T::EXP.len() - 1]);
    for &coefficient in T::EXP[..T::EXP.len() - 1].iter().rev() {
        p = simd.fma(p, r, simd.splat(coefficient));
    }
    let one = simd.splat(T::one());
    let p = simd.fma(p, r, one);
    simd.div(one, simd.fma(p, simd.power_of_two(shifted), one))
}

/// z := sigmoid(z + bias), row by row, zero from `lanes` of the last vector on.
pub struct Activate<T, S> {
    pub simd: S,
    pub rows: usize,
    pub vectors: usize,
    pub lanes: usize, // of the last vector
    pub z: *mut T,
    pub z_row: usize,
    pub bias: *const T,
}

impl<T: Real, S: Simd<T>> Activate<T, S> {
    /// # Safety
    /// `z` must be valid for reading and writing `rows` x `vectors` vectors, by nobody else meanwhile, and `bias` for
    /// reading `vectors`.
    #[inline(always)]
    pub unsafe fn run(self) {
        let simd = self.simd;
        simd.run(self);
    }
}

impl<T: Real, S: Simd<T>> Kernel for Activate<T, S> {
    #[inline(always)]
    fn run(self) {
        let simd = self.simd;
        for row in 0..self.rows {
            for vector in 0..self.vectors {
                // SAFETY: inside `z` and `bias`; see `run`.
                unsafe {
                    let z = self.z.add(row * self.z_row + vector * S::LANES);
                    let bias = simd.load(self.bias.add(vector * S::LANES));
                    let mut a = sigmoid(simd, simd.add(simd.load(z), bias));
                    if vector == self.vectors - 1 {
                        a = simd.first(self.lanes, a);
                    }
                    simd.store(z, a);
                }
            }
        }
    }
}

/// delta := (delta or a - y) * a * (1 - a) * scale, and its sum over the rows added to `sums`.
pub struct Slope<T, S> {
    pub simd: S,
    pub rows: usize,
    pub vectors: usize,
    pub delta: *mut T,
    pub a: *const T,
    pub row: usize,                   // from row to row of both
    pub y: Option<(*const T, usize)>, // where delta is still to come from a - y; and from row to row
    pub scale: T,
    pub sums: *mut T,
}

impl<T: Real, S: Simd<T>> Slope<T, S> {
    /// # Safety
    /// `delta` must be valid for reading and writing `rows` x `vectors` vectors and `sums` for `vectors`, by nobody else
    /// meanwhile; `a` and `y` for reading `rows` x `vectors`.
    #[inline(always)]
    pub unsafe fn run(self) {
        let simd = self.simd;
        simd.run(self);
    }
}

impl<T: Real, S: Simd<T>> Kernel for Slope<T, S> {
    #[inline(always)]
    fn run(self) {
        let simd = self.simd;
        let (one, scale) = (simd.splat(T::one()), simd.splat(self.scale));
        for vector in 0..self.vectors {
            let column = vector * S::LANES;
            // SAFETY: inside the arrays; see `run`.
            unsafe {
                let mut sum = simd.load(self.sums.add(column));
                for row in 0..self.rows {
                    let at = row * self.row + column;
                    let a = simd.load(self.a.add(at));
                    let error = match self.y {
                        Some((y, y_row)) => simd.mul(simd.sub(a, simd.load(y.add(row * y_row + column))), scale),
                        None => simd.load(self.delta.add(at)),
                    };
                    let delta = simd.mul(error, simd.mul(a, simd.sub(one, a)));
                    simd.store(self.delta.add(at), delta);
                    sum = simd.add(sum, delta);
                }
                simd.store(self.sums.add(column), sum);
            }
        }
    }
}
