//! Small products, straight from the matrices: nothing is packed, sums stay in registers.
//!
//! Columns come in whole vectors: rows are padded with zeros to whole cache lines, and so are their sums.

use super::simd::{Kernel, Simd, prefetch};
use crate::network::Real;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Where the rows of a matrix begin.
pub trait Rows<T>: Copy {
    /// # Safety
    /// The matrix must have this row.
    unsafe fn row(self, row: usize) -> *const T;

    /// The matrix from this row and this column on.
    ///
    /// # Safety
    /// The matrix must have them.
    unsafe fn cut(self, row: usize, column: usize) -> Self;
}

/// Rows one after the other.
#[derive(Clone, Copy)]
pub struct Strided<T> {
    pub start: *const T,
    pub stride: usize,
}

// SAFETY: a pointer may go anywhere; using it is up to the caller of `row`.
unsafe impl<T> Sync for Strided<T> {}

impl<T: Real> Rows<T> for Strided<T> {
    #[inline(always)]
    unsafe fn row(self, row: usize) -> *const T {
        // SAFETY: the caller's.
        unsafe { self.start.add(row * self.stride) }
    }

    #[inline(always)]
    unsafe fn cut(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's.
        Self { start: unsafe { self.row(row).add(column) }, ..self }
    }
}

/// Rows anywhere, by a list of where each of them begins.
#[derive(Clone, Copy)]
pub struct Listed<T> {
    starts: *const *const T,
    column: usize,
}

// SAFETY: as above.
unsafe impl<T> Sync for Listed<T> {}

impl<T> Listed<T> {
    pub fn new(starts: &[*const T]) -> Self {
        Self { starts: starts.as_ptr(), column: 0 }
    }
}

impl<T: Real> Rows<T> for Listed<T> {
    #[inline(always)]
    unsafe fn row(self, row: usize) -> *const T {
        // SAFETY: the caller's.
        unsafe { (*self.starts.add(row)).add(self.column) }
    }

    #[inline(always)]
    unsafe fn cut(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's.
        Self { starts: unsafe { self.starts.add(row) }, column: self.column + column }
    }
}

/// C := A B, or C += A B: `rows` x `vectors` values of C, each a sum over `depth`.
///
/// What C held is added at the end: the sums need not wait for it.
///
/// A is read value by value at any two strides, so that a transpose costs nothing; B and C in vectors along rows.
///
/// # Safety
/// A must be valid for reading `rows` x `depth` values, B `depth` x `vectors` and C `rows` x `vectors` vectors, at the
/// given strides; C also for writing, by nobody else meanwhile, and apart from A and B.
pub struct Multiply<T, B> {
    pub rows: usize,
    pub vectors: usize,
    pub depth: usize,
    pub a: *const T,
    pub a_row: usize,   // from one row of A to the next
    pub a_depth: usize, // from one column of A to the next
    pub b: B,
    pub c: *mut T,
    pub c_row: usize,
    pub accumulate: bool,
}

impl<T: Real, B: Rows<T>> Multiply<T, B> {
    /// One tile of M rows and N vectors at `row` and `column`.
    ///
    /// # Safety
    /// As for the whole product, in which the tile must lie.
    #[inline(always)]
    unsafe fn tile<S: Simd<T>, const M: usize, const N: usize>(&self, simd: S, row: usize, column: usize) {
        // SAFETY: the tile lies in C, so all that is read of A and B for it lies in them.
        unsafe {
            let a = self.a.add(row * self.a_row);
            let c = self.c.add(row * self.c_row + column * S::LANES);
            let mut sums = [[simd.splat(T::zero()); N]; M];
            for k in 0..self.depth {
                let mut right = [simd.splat(T::zero()); N];
                for j in 0..N {
                    right[j] = simd.load(self.b.row(k).add((column + j) * S::LANES));
                }
                for i in 0..M {
                    let left = simd.splat(*a.add(i * self.a_row + k * self.a_depth));
                    for j in 0..N {
                        sums[i][j] = simd.fma(left, right[j], sums[i][j]);
                    }
                }
            }
            for i in 0..M {
                for j in 0..N {
                    if self.accumulate {
                        sums[i][j] = simd.add(sums[i][j], simd.load(c.add(i * self.c_row + j * S::LANES)));
                    }
                    simd.store(c.add(i * self.c_row + j * S::LANES), sums[i][j]);
                }
            }
        }
    }

    /// The tiles of M rows at `row`, in these columns.
    ///
    /// # Safety
    /// As for the whole product, in which the tiles must lie.
    #[inline(always)]
    unsafe fn rows<S: Simd<T>, const M: usize>(&self, simd: S, row: usize, columns: Range<usize>) {
        let mut column = columns.start;
        while column < columns.end {
            let vectors = (columns.end - column).min(S::TILE.1);
            // SAFETY: inside the product, as the caller vouches.
            unsafe {
                match vectors {
                    4 => self.tile::<S, M, 4>(simd, row, column),
                    3 => self.tile::<S, M, 3>(simd, row, column),
                    2 => self.tile::<S, M, 2>(simd, row, column),
                    _ => self.tile::<S, M, 1>(simd, row, column),
                }
            }
            column += vectors;
        }
    }
}

impl<T: Real, B: Rows<T>, S: Simd<T>> Kernel<S> for Multiply<T, B> {
    /// All rows, for as many columns at a time as B's part for them stays in the cache; along rows, because the tiles
    /// of C then come in one after the other.
    #[inline(always)]
    unsafe fn run(self, simd: S) {
        let strip = (NEAR / (self.depth.max(1) * S::LANES * size_of::<T>())).max(1).next_multiple_of(S::TILE.1);
        for start in (0..self.vectors).step_by(strip) {
            let columns = start..self.vectors.min(start + strip);
            let mut row = 0;
            while row < self.rows {
                let rows = (self.rows - row).min(S::TILE.0);
                // SAFETY: inside the product, as the caller vouches.
                unsafe {
                    match rows {
                        6 => self.rows::<S, 6>(simd, row, columns.clone()),
                        5 => self.rows::<S, 5>(simd, row, columns.clone()),
                        4 => self.rows::<S, 4>(simd, row, columns.clone()),
                        3 => self.rows::<S, 3>(simd, row, columns.clone()),
                        2 => self.rows::<S, 2>(simd, row, columns.clone()),
                        _ => self.rows::<S, 1>(simd, row, columns.clone()),
                    }
                }
                row += rows;
            }
        }
    }
}

/// Bytes of B that a core's first-level cache keeps beside the tiles of C.
const NEAR: usize = 24 << 10;

/// C := A B^T: `rows` x `columns` values of C, each the dot product of a row of A and a row of B.
///
/// # Safety
/// A must be valid for reading `rows` x `vectors` vectors, B `columns` x `vectors`, and C for writing `rows` x
/// `columns` values, at the given strides; nobody else may write or read C meanwhile.
pub struct Dots<T, A> {
    pub rows: usize,
    pub columns: usize,
    pub vectors: usize, // in a row of A and of B
    pub a: A,
    pub b: *const T,
    pub b_row: usize,
    pub c: *mut T,
    pub c_row: usize,
}

/// Sums in the largest tile of any instruction set.
const MOST_SUMS: usize = 25;

/// Where a part lies in the rows that tiles multiply.
#[derive(Clone, Copy, PartialEq)]
enum At {
    First,
    Middle,
    Last,
}

impl<T: Real, A: Rows<T>> Dots<T, A> {
    /// The sums of a tile of M rows and N columns at `row` and `column`, over these vectors of the rows; not yet those
    /// of their lanes.
    ///
    /// # Safety
    /// As for the whole product, in which the tile must lie.
    #[inline(always)]
    unsafe fn sums<S: Simd<T>, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        vectors: Range<usize>,
    ) -> [[S::Vector; N]; M] {
        // SAFETY: the tile lies in C, so the rows that it needs lie in A and B.
        unsafe {
            let mut a = [std::ptr::null(); M];
            for i in 0..M {
                a[i] = self.a.row(row + i);
            }
            let b = self.b.add(column * self.b_row);
            let mut sums = [[simd.splat(T::zero()); N]; M];
            for k in vectors {
                let mut right = [simd.splat(T::zero()); N];
                for j in 0..N {
                    right[j] = simd.load(b.add(j * self.b_row + k * S::LANES));
                }
                for i in 0..M {
                    let left = simd.load(a[i].add(k * S::LANES));
                    for j in 0..N {
                        sums[i][j] = simd.fma(left, right[j], sums[i][j]);
                    }
                }
            }
            sums
        }
    }

    /// Write the sums of a tile's lanes.
    ///
    /// # Safety
    /// As for the whole product, in which the tile must lie.
    #[inline(always)]
    unsafe fn write<S: Simd<T>, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        sums: [[S::Vector; N]; M],
    ) {
        // SAFETY: the tile lies in C.
        unsafe {
            let c = self.c.add(row * self.c_row + column);
            for i in 0..M {
                for j in (0..N).step_by(4) {
                    let four = [sums[i][j], sums[i][(j + 1) % N], sums[i][(j + 2) % N], sums[i][(j + 3) % N]];
                    for (k, sum) in simd.sums(four).into_iter().take(N - j).enumerate() {
                        *c.add(i * self.c_row + j + k) = sum;
                    }
                }
            }
        }
    }

    /// One tile of M rows and N columns at `row` and `column`.
    ///
    /// # Safety
    /// As for the whole product, in which the tile must lie.
    #[inline(always)]
    unsafe fn tile<S: Simd<T>, const M: usize, const N: usize>(&self, simd: S, row: usize, column: usize) {
        // SAFETY: the caller's.
        unsafe {
            let sums = self.sums::<S, M, N>(simd, row, column, 0..self.vectors);
            self.write(simd, row, column, sums);
        }
    }

    /// The same from these vectors of the rows; `kept` holds what the parts before them gave, and then this one's too.
    ///
    /// # Safety
    /// As for `tile`; `kept` must be valid for M x N vectors.
    #[inline(always)]
    unsafe fn part<S: Simd<T>, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        (at, vectors): (At, Range<usize>),
        kept: *mut S::Vector,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = self.sums::<S, M, N>(simd, row, column, vectors);
            for i in 0..M {
                for j in 0..N {
                    let kept = kept.add(i * N + j);
                    if at != At::First {
                        sums[i][j] = simd.add(sums[i][j], *kept);
                    }
                    if at != At::Last {
                        *kept = sums[i][j];
                    }
                }
            }
            if at == At::Last {
                self.write(simd, row, column, sums);
            }
        }
    }

    /// The tiles of N columns at `column`, in all rows.
    ///
    /// # Safety
    /// As for the whole product, in which the tiles must lie.
    #[inline(always)]
    unsafe fn columns<S: Simd<T>, const N: usize>(&self, simd: S, column: usize) {
        let mut row = 0;
        while row < self.rows {
            let rows = (self.rows - row).min(S::DOTS.0);
            // SAFETY: inside the product, as the caller vouches.
            unsafe {
                match rows {
                    5 => self.tile::<S, 5, N>(simd, row, column),
                    4 => self.tile::<S, 4, N>(simd, row, column),
                    3 => self.tile::<S, 3, N>(simd, row, column),
                    2 => self.tile::<S, 2, N>(simd, row, column),
                    _ => self.tile::<S, 1, N>(simd, row, column),
                }
            }
            row += rows;
        }
    }
}

impl<T: Real, A: Rows<T>, S: Simd<T>> Kernel<S> for Dots<T, A> {
    #[inline(always)]
    unsafe fn run(self, simd: S) {
        let mut column = 0;
        while column < self.columns {
            let columns = (self.columns - column).min(S::DOTS.1);
            // SAFETY: inside the product, as the caller vouches.
            unsafe {
                match columns {
                    5 => self.columns::<S, 5>(simd, column),
                    4 => self.columns::<S, 4>(simd, column),
                    3 => self.columns::<S, 3>(simd, column),
                    2 => self.columns::<S, 2>(simd, column),
                    _ => self.columns::<S, 1>(simd, column),
                }
            }
            column += columns;
        }
    }
}

/// The same product, for rows too long to stay in the first-level cache: they come in parts.
///
/// A group of tiles takes the first part of its rows, then the next, its sums kept meanwhile. What stays near is a part
/// of the group's rows of A, for all of its rows of B, which come by once.
///
/// # Safety
/// As for `Dots`.
pub struct DotsInParts<T, A> {
    pub dots: Dots<T, A>,
    pub parts: usize,
    pub far: bool, // A is in no cache: the rows of the next group are fetched meanwhile
}

/// Tiles in a group, of rows of A and of rows of B. More rows of A need more and shorter parts; more of B, more room for
/// sums, and they no longer stay in the second-level cache for the next group.
pub const GROUP: (usize, usize) = (2, 12);

impl<T: Real, A: Rows<T>> DotsInParts<T, A> {
    /// Have this part of rows of A fetched.
    ///
    /// # Safety
    /// A must have the rows.
    #[inline(always)]
    unsafe fn fetch<S: Simd<T>>(&self, rows: Range<usize>, part: Range<usize>) {
        for row in rows {
            // SAFETY: the caller's.
            let row = unsafe { self.dots.a.row(row) };
            part.clone().for_each(|vector| prefetch(row.wrapping_add(vector * S::LANES)));
        }
    }

    /// One part of the group's tiles of N columns at `column`.
    ///
    /// # Safety
    /// As for `Dots`, in which the tiles must lie.
    #[inline(always)]
    unsafe fn columns<S: Simd<T>, const N: usize>(
        &self,
        simd: S,
        (row, column): (usize, usize),
        part: (At, Range<usize>),
        kept: &mut [[MaybeUninit<S::Vector>; MOST_SUMS]; GROUP.0],
    ) {
        let dots = &self.dots;
        for (row, kept) in (row..dots.rows).step_by(S::DOTS.0).zip(kept) {
            let (part, kept) = (part.clone(), kept.as_mut_ptr().cast());
            // SAFETY: inside the product, as the caller vouches; there is room for the sums of any tile.
            unsafe {
                match (dots.rows - row).min(S::DOTS.0) {
                    5 => dots.part::<S, 5, N>(simd, row, column, part, kept),
                    4 => dots.part::<S, 4, N>(simd, row, column, part, kept),
                    3 => dots.part::<S, 3, N>(simd, row, column, part, kept),
                    2 => dots.part::<S, 2, N>(simd, row, column, part, kept),
                    _ => dots.part::<S, 1, N>(simd, row, column, part, kept),
                }
            }
        }
    }
}

impl<T: Real, A: Rows<T>, S: Simd<T>> Kernel<S> for DotsInParts<T, A> {
    #[inline(always)]
    unsafe fn run(self, simd: S) {
        let Dots { rows, columns, vectors, .. } = self.dots;
        let length = vectors.div_ceil(self.parts);
        let mut kept = [[[MaybeUninit::<S::Vector>::uninit(); MOST_SUMS]; GROUP.0]; GROUP.1];
        for left in (0..columns).step_by(GROUP.1 * S::DOTS.1) {
            let group = GROUP.0 * S::DOTS.0;
            for row in (0..rows).step_by(group) {
                for start in (0..vectors).step_by(length) {
                    let part = start..vectors.min(start + length);
                    let at = match part {
                        Range { start: 0, .. } => At::First,
                        Range { end, .. } if end == vectors => At::Last,
                        _ => At::Middle,
                    };
                    let mut next = row + group;
                    let end = if self.far && left == 0 { rows.min(next + group) } else { next };
                    let share = group.div_ceil(columns.div_ceil(S::DOTS.1).min(GROUP.1));
                    for (column, kept) in (left..columns).step_by(S::DOTS.1).zip(&mut kept) {
                        let (tile, part) = ((row, column), (at, part.clone()));
                        // SAFETY: inside the product, as the caller vouches.
                        unsafe {
                            self.fetch::<S>(next..end.min(next + share), part.1.clone());
                            next += share;
                            match (columns - column).min(S::DOTS.1) {
                                5 => self.columns::<S, 5>(simd, tile, part, kept),
                                4 => self.columns::<S, 4>(simd, tile, part, kept),
                                3 => self.columns::<S, 3>(simd, tile, part, kept),
                                2 => self.columns::<S, 2>(simd, tile, part, kept),
                                _ => self.columns::<S, 1>(simd, tile, part, kept),
                            }
                        }
                    }
                }
            }
        }
    }
}
