//! The examples, as every row is given them: `fused` needs rows in whole cache lines, and all others see a view.

use crate::network::Real;
use ndarray::{ArrayView2, ShapeBuilder};
use std::slice;
use std::sync::OnceLock;

#[cfg(feature = "candle")]
pub(crate) use candle_core::Tensor;
#[cfg(not(feature = "candle"))]
type Tensor = ();

const LINE: usize = 64; // bytes in a cache line

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// A matrix whose rows begin at cache lines; what is between the end of a row and the next line is zero.
///
/// Rows that are a multiple of 1 KiB would compete for the same few sets of the caches: they get one line more.
pub struct Matrix<T> {
    lines: Vec<Line>, // never grows, so never moves
    shape: (usize, usize),
    stride: usize, // values from row to row
    values: std::marker::PhantomData<T>,
    pub(crate) tensor: OnceLock<Tensor>, // a copy of it for `candle`, once it is asked for
}

impl<T: Real> Matrix<T> {
    /// Values in a cache line.
    pub const LANES: usize = LINE / size_of::<T>();

    pub fn zeros(rows: usize, columns: usize) -> Self {
        let mut lines = columns.div_ceil(Self::LANES);
        if lines.is_multiple_of(16) {
            lines += 1;
        }
        Self {
            lines: vec![Line([0; LINE]); rows.checked_mul(lines).expect("a matrix that fits in memory")],
            shape: (rows, columns),
            stride: lines * Self::LANES,
            values: std::marker::PhantomData,
            tensor: OnceLock::new(),
        }
    }

    pub fn from_view(from: ArrayView2<T>) -> Self {
        let mut matrix = Self::zeros(from.nrows(), from.ncols());
        matrix.assign(from);
        matrix
    }

    pub fn rows(&self) -> usize {
        self.shape.0
    }

    pub fn columns(&self) -> usize {
        self.shape.1
    }

    /// Values from row to row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    pub fn as_ptr(&self) -> *const T {
        self.lines.as_ptr().cast()
    }

    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.tensor.take();
        self.lines.as_mut_ptr().cast()
    }

    pub fn view(&self) -> ArrayView2<'_, T> {
        // SAFETY: the lines hold rows * stride initialised values, aligned for T, of which any bytes are one; borrowed.
        let values = unsafe { slice::from_raw_parts(self.as_ptr(), self.lines.len() * Self::LANES) };
        ArrayView2::from_shape(self.shape.strides((self.stride, 1)), values).expect("rows * stride values")
    }

    pub fn assign(&mut self, from: ArrayView2<T>) {
        assert_eq!(from.dim(), self.shape);
        self.tensor.take();
        let stride = self.stride;
        for (to, from) in self.values_mut().chunks_exact_mut(stride).zip(from.rows()) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
    }

    /// Become the rows at `indices` of another matrix with as many columns; room must be left for them.
    pub fn take(&mut self, from: &Self, indices: &[usize]) {
        assert!(indices.len() * self.stride <= self.lines.len() * Self::LANES && self.stride == from.stride);
        self.shape.0 = indices.len();
        self.tensor.take();
        let lines = self.stride / Self::LANES;
        for (to, &index) in self.lines.chunks_exact_mut(lines).zip(indices) {
            to.copy_from_slice(&from.lines[index * lines..][..lines]);
        }
    }

    fn values_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `view`; borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * Self::LANES) }
    }
}
