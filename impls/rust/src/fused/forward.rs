//! The product of the forward pass, Z := X W^T.
//!
//! As dot products of rows, it needs nothing but X and W: right for few examples or few units. Otherwise the examples
//! are transposed first, a strip of them at a time, and the sums lie side by side in vectors: nothing is left to add up
//! within them, and the strip comes in as one stream, where rows come from as many places as a tile has of them.

use super::products::{Dots, DotsInParts, GROUP, Multiply, Rows, Strided};
use super::simd::{Kernel, Simd};
use crate::matrix::Matrix;
use crate::network::Real;
use std::ops::Range;

/// How to take the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Dot products of rows that come in so many parts.
    Dots { parts: usize },
    /// The examples transposed.
    Transposed,
}

/// Units that make up for transposing the examples.
const UNITS: usize = 64;

/// Bytes of a tile's rows that a core's first-level cache keeps, alone or beside another thread's; longer ones come in
/// parts, of which it keeps a group's beside those that come by.
const NEAREST: usize = 44 << 10;
const PART: usize = 22 << 10;

impl Way {
    /// For a layer of this shape. Threads that each compute a part of it must agree: the order of a sum depends on it.
    pub fn of<T: Real, S: Simd<T>>(examples: usize, inputs: usize, units: usize) -> Self {
        if units >= UNITS && examples >= S::TILE.1 * S::LANES {
            return Self::Transposed;
        }
        let row = inputs * size_of::<T>();
        if examples <= S::DOTS.0 || (S::DOTS.0 + S::DOTS.1) * row <= NEAREST {
            return Self::Dots { parts: 1 };
        }
        Self::Dots { parts: (GROUP.0 * S::DOTS.0 * row).div_ceil(PART) }
    }
}

/// Work space of a thread: strips of a transposed factor and of a transposed product, as wide as the tiles of `Multiply`.
pub struct Strips<T> {
    factor: *mut T,
    product: *mut T,
    _memory: [Matrix<T>; 2],
}

// SAFETY: pointers to memory that is the strips' own; `Product` vouches for their use.
unsafe impl<T> Sync for Strips<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Strips<T> {}

impl<T: Real> Strips<T> {
    /// For layers of this network.
    pub fn new<S: Simd<T>>(sizes: &[usize]) -> Self {
        let most = sizes.iter().copied().max().unwrap_or_default().next_multiple_of(S::LANES);
        let lines = (S::TILE.1 * S::LANES).div_ceil(Matrix::<T>::LANES);
        let mut memory = [(); 2].map(|()| Matrix::zeros(most, lines * Matrix::<T>::LANES));
        let [factor, product] = memory.each_mut().map(Matrix::as_mut_ptr);
        Self { factor, product, _memory: memory }
    }
}

/// Z := X W^T, for some examples and units.
///
/// # Safety
/// `x` must have `examples` rows, and `W` as many as there are units, of `inputs` values in whole vectors; Z must be
/// valid for writing `examples` rows of `units` values in whole vectors, by nobody else meanwhile. The strips must be of
/// a network with a layer of this shape, or a larger one, and used by one thread at a time.
pub struct Product<T, X, S> {
    pub simd: S,
    pub inputs: usize,
    pub x: X,
    pub examples: usize,
    pub W: Strided<T>,
    pub units: usize,
    pub z: *mut T,
    pub z_row: usize,
}

impl<T: Real, X: Rows<T>, S: Simd<T>> Product<T, X, S> {
    /// By dot products, for these examples; `far` if they come from memory.
    ///
    /// # Safety
    /// See `Product`.
    pub unsafe fn dots(&self, examples: Range<usize>, parts: usize, far: bool) {
        // SAFETY: the caller's.
        unsafe {
            let dots = Dots {
                rows: examples.len(),
                columns: self.units,
                vectors: self.inputs.div_ceil(S::LANES),
                a: self.x.cut(examples.start, 0),
                b: self.W.start,
                b_row: self.W.stride,
                c: self.z.add(examples.start * self.z_row),
                c_row: self.z_row,
            };
            match parts {
                1 => self.simd.run(dots),
                _ => self.simd.run(DotsInParts { dots, parts, far }),
            }
        }
    }

    /// Z^T := W X^T, for a strip of examples at a time.
    ///
    /// # Safety
    /// See `Product`.
    pub unsafe fn transposed(&self, strips: &Strips<T>) {
        let width = S::TILE.1 * S::LANES;
        for examples in strips_of::<T, S>(self.examples) {
            // SAFETY: a strip has room for `inputs` rows, and one for `units`; rows of Z for whole vectors.
            unsafe {
                self.simd.run(Transpose {
                    rows: examples.len(),
                    columns: self.inputs,
                    from: self.x.cut(examples.start, 0),
                    to: strips.factor,
                    to_row: width,
                });
                self.simd.run(Multiply {
                    rows: self.units,
                    vectors: examples.len().div_ceil(S::LANES),
                    depth: self.inputs,
                    a: self.W.start,
                    a_row: self.W.stride,
                    a_depth: 1,
                    b: Strided { start: strips.factor.cast_const(), stride: width },
                    c: strips.product,
                    c_row: width,
                    accumulate: false,
                });
                self.simd.run(Transpose {
                    rows: self.units,
                    columns: examples.len(),
                    from: Strided { start: strips.product.cast_const(), stride: width },
                    to: self.z.add(examples.start * self.z_row),
                    to_row: self.z_row,
                });
            }
        }
    }
}

/// `0..total` in strips of whole vectors, as equal as can be, none wider than a tile.
fn strips_of<T: Real, S: Simd<T>>(total: usize) -> impl Iterator<Item = Range<usize>> {
    let vectors = total.div_ceil(S::LANES);
    let width = vectors.div_ceil(vectors.div_ceil(S::TILE.1).max(1)).max(1) * S::LANES;
    (0..total).step_by(width).map(move |start| start..total.min(start + width))
}

/// The most lanes of any vector.
const MOST_LANES: usize = 16;

/// B := A^T. Whole vectors are written: behind the last rows of A, copies of it.
///
/// # Safety
/// A must be valid for reading `rows` x `columns` values, and B for writing `columns` x `rows`, each in whole vectors;
/// nobody else may write or read B meanwhile.
pub struct Transpose<T, A> {
    pub rows: usize,
    pub columns: usize,
    pub from: A,
    pub to: *mut T,
    pub to_row: usize,
}

impl<T: Real, A: Rows<T>, S: Simd<T>> Kernel<S> for Transpose<T, A> {
    #[inline(always)]
    unsafe fn run(self, simd: S) {
        for column in (0..self.columns).step_by(S::LANES) {
            for row in (0..self.rows).step_by(S::LANES) {
                let mut block = [simd.splat(T::zero()); MOST_LANES];
                for i in 0..S::LANES {
                    let row = (row + i).min(self.rows - 1);
                    // SAFETY: the caller's.
                    block[i] = unsafe { simd.load(self.from.row(row).add(column)) };
                }
                for _ in 0..S::LANES.ilog2() {
                    // Each round halves the distance of what are neighbours in a column.
                    let before = block;
                    for i in 0..S::LANES / 2 {
                        [block[2 * i], block[2 * i + 1]] = simd.zip(before[i], before[i + S::LANES / 2]);
                    }
                }
                for i in 0..S::LANES.min(self.columns - column) {
                    // SAFETY: the caller's.
                    unsafe { simd.store(self.to.add((column + i) * self.to_row + row), block[i]) };
                }
            }
        }
    }
}
