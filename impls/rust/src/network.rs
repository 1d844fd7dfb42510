//! What all rows share: the numbers, the arrays, and the contract between a row and its Python class.

use ndarray::{Array1, Array2, ArrayView2, NdFloat, ShapeBuilder};
use std::slice;

/// float64 or float32, and the constants of the exponential function in it.
pub trait Real: NdFloat {
    /// exp of ± this is finite and normal.
    const EXP_LIMIT: Self;
    /// 1.5 * 2^(mantissa bits) + exponent bias: added to x, it rounds x to a whole number n and leaves the bits of
    /// 2^n, not yet shifted to their place, at the low end.
    const EXPONENT_SHIFT: Self;
    /// ln 2 as a sum of two, the first with so few digits that its products with exponents are exact.
    const LN_2: (Self, Self);
    /// Coefficients of x^1, x^2, … in exp(x) on [-ln(2)/2, ln(2)/2], minimax in relative error; that of x^0 is 1.
    const EXP: &[Self];

    fn of(value: f64) -> Self;
}

impl Real for f64 {
    const EXP_LIMIT: f64 = 708.0;
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

    fn of(value: f64) -> f64 {
        value
    }
}

impl Real for f32 {
    const EXP_LIMIT: f32 = 87.0;
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

    fn of(value: f64) -> f32 {
        value as f32
    }
}

/// Weights (n_out, n_in) and biases (n_out,) of each layer, or the gradient with respect to them.
#[derive(Clone, Debug)]
pub struct Parameters<T> {
    pub weights: Vec<Array2<T>>,
    pub biases: Vec<Array1<T>>,
}

impl<T: Real> Parameters<T> {
    pub fn zeros(sizes: &[usize]) -> Self {
        Self {
            weights: sizes.windows(2).map(|n| Array2::zeros((n[1], n[0]))).collect(),
            biases: sizes[1..].iter().map(|&n| Array1::zeros(n)).collect(),
        }
    }
}

/// One row: an algorithm with the parameters that it trains. `x` is (B, n_0) and `y` is (B, n_L).
///
/// Callers see to it that shapes fit the sizes, and that B is at least 1 and at most the batch size.
pub trait Network<T: Real>: Send {
    /// Copy parameters in.
    fn load(&mut self, parameters: Parameters<T>);

    /// Copy the parameters out.
    fn parameters(&self) -> Parameters<T>;

    /// The gradient of 1/(2B) * sum over the examples of |a - y|^2.
    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T>;

    /// One step of gradient descent.
    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T);

    /// Steps through the examples in `order`, `batch_size` at a time, the last mini-batch as large as what is left.
    fn epoch(&mut self, x: &Matrix<T>, y: &Matrix<T>, order: &[usize], batch_size: usize, learning_rate: T) {
        let mut batch = (Matrix::zeros(batch_size, x.columns()), Matrix::zeros(batch_size, y.columns()));
        for indices in order.chunks(batch_size) {
            batch.0.take(x, indices);
            batch.1.take(y, indices);
            self.step(&batch.0, &batch.1, learning_rate);
        }
    }
}

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
            lines: vec![Line([0; LINE]); rows * lines],
            shape: (rows, columns),
            stride: lines * Self::LANES,
            values: std::marker::PhantomData,
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
        self.lines.as_mut_ptr().cast()
    }

    pub fn view(&self) -> ArrayView2<'_, T> {
        // SAFETY: the lines hold rows * stride initialised values, aligned for T; any bytes are a float; borrowed.
        let values = unsafe { slice::from_raw_parts(self.as_ptr(), self.lines.len() * Self::LANES) };
        ArrayView2::from_shape(self.shape.strides((self.stride, 1)), values).expect("rows * stride values")
    }

    pub fn assign(&mut self, from: ArrayView2<T>) {
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

/// 1 / (1 + exp(-z)), with z bounded below where exp(-z) would overflow.
pub fn sigmoid<T: Real>(z: T) -> T {
    let bounded = if z < -T::EXP_LIMIT { -T::EXP_LIMIT } else { z }; // NaN stays NaN
    T::one() / (T::one() + (-bounded).exp())
}

/// The sigmoid's derivative, from its value.
pub fn slope<T: Real>(a: T) -> T {
    a * (T::one() - a)
}
