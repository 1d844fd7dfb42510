//! The element-wise passes, in vectors.

use super::products::Rows;
use super::simd::{Kernel, Simd};
use crate::network::Real;

/// The constants of the exponential function.
pub trait Exp: Real {
    /// 1.5 * 2^(mantissa bits) + exponent bias: added to x, it rounds x to a whole number n and leaves the bits of
    /// 2^n, not yet shifted to their place, at the low end.
    const EXPONENT_SHIFT: Self;
    /// ln 2 as a sum of two, the first with so few digits that its products with exponents are exact.
    const LN_2: (Self, Self);
    /// Coefficients of x^1, x^2, … in exp(x) on [-ln(2)/2, ln(2)/2], minimax in relative error; that of x^0 is 1.
    const EXP: &[Self];
}

impl Exp for f64 {
    const EXPONENT_SHIFT: f64 = 1.5 * (1u64 << 52) as f64 + 1023.0;
    const LN_2: (f64, f64) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);
    const EXP: &[f64] = &[
        1.000_000_000_000_000_6, // relative error 1.8e-17
        0.500_000_000_000_000_6,
        0.166_666_666_666_572_65,
        0.041_666_666_666_573_26,
        0.008_333_333_337_728_656,
        0.001_388_888_893_247_099,
        0.000_198_412_614_746_078_23,
        2.480_150_434_559_93e-5,
        2.756_426_191_046_454e-6,
        2.762_636_549_679_54e-7,
        2.298_132_762_980_385_5e-8,
    ];
}

impl Exp for f32 {
    const EXPONENT_SHIFT: f32 = 1.5 * (1u32 << 23) as f32 + 127.0;
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    const EXP: &[f32] = &[
        1.000_000_05, // relative error 2.6e-9
        0.500_000_04,
        0.166_663_65,
        0.041_664_77,
        0.008_379_059,
        0.001_406_142_2,
    ];
}

/// 1 / (1 + exp(-z)) of each lane, within 3 units in the last place of it; NaN for NaN.
///
/// exp(x) = 2^n * exp(r), with n the whole number next to x / ln 2, |r| <= ln(2) / 2, and exp(r) a polynomial. |z| is
/// bounded to where 2^n is a normal number.
#[inline(always)]
pub fn sigmoid<T: Exp, S: Simd<T>>(simd: S, z: S::Vector) -> S::Vector {
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
///
/// # Safety
/// `z` must be valid for reading and writing `rows` x `vectors` vectors, by nobody else meanwhile, and `bias` for
/// reading `vectors`.
pub struct Activate<T> {
    pub rows: usize,
    pub vectors: usize,
    pub lanes: usize, // of the last vector
    pub z: *mut T,
    pub z_row: usize,
    pub bias: *const T,
}

impl<T: Exp, S: Simd<T>> Kernel<S> for Activate<T> {
    #[inline(always)]
    unsafe fn run(self, simd: S) {
        for row in 0..self.rows {
            for vector in 0..self.vectors {
                // SAFETY: inside `z` and `bias`, as the caller vouches.
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
///
/// # Safety
/// `delta` must be valid for reading and writing `rows` x `vectors` vectors and `sums` for `vectors`, by nobody else
/// meanwhile; `a` and `y` for reading `rows` x `vectors`.
pub struct Slope<T, Y> {
    pub rows: usize,
    pub vectors: usize,
    pub delta: *mut T,
    pub a: *const T,
    pub row: usize,   // from row to row of both
    pub y: Option<Y>, // where delta is still to come from a - y
    pub scale: T,
    pub sums: *mut T,
}

impl<T: Real, Y: Rows<T>, S: Simd<T>> Kernel<S> for Slope<T, Y> {
    #[inline(always)]
    unsafe fn run(self, simd: S) {
        let (one, scale) = (simd.splat(T::one()), simd.splat(self.scale));
        for vector in 0..self.vectors {
            let column = vector * S::LANES;
            // SAFETY: inside the arrays, as the caller vouches.
            unsafe {
                let mut sum = simd.splat(T::zero()); // in the biases' last place a single example's share may be lost
                for row in 0..self.rows {
                    let at = row * self.row + column;
                    let a = simd.load(self.a.add(at));
                    let error = match self.y {
                        Some(y) => simd.mul(simd.sub(a, simd.load(y.row(row).add(column))), scale),
                        None => simd.load(self.delta.add(at)),
                    };
                    let delta = simd.mul(error, simd.mul(a, simd.sub(one, a)));
                    simd.store(self.delta.add(at), delta);
                    sum = simd.add(sum, delta);
                }
                let sums = self.sums.add(column);
                simd.store(sums, simd.add(simd.load(sums), sum));
            }
        }
    }
}
