//! What all rows share: the numbers, the parameters, and the contract between a row and its Python class.

use crate::matrix::Matrix;
use ndarray::{Array1, Array2, NdFloat};

/// float64 or float32.
///
/// # Safety
/// Any bytes must be a value, and the size and the alignment must divide those of a cache line: `Matrix` counts on it.
pub unsafe trait Real: NdFloat {
    /// exp of ± this is finite and normal.
    const EXP_LIMIT: Self;

    fn of(value: f64) -> Self;
}

// SAFETY: 8 bytes, of any value.
unsafe impl Real for f64 {
    const EXP_LIMIT: f64 = 708.0;

    fn of(value: f64) -> f64 {
        value
    }
}

// SAFETY: 4 bytes, of any value.
unsafe impl Real for f32 {
    const EXP_LIMIT: f32 = 87.0;

    fn of(value: f64) -> f32 {
        value as f32
    }
}

/// The floating-point operations of a step's products, per example: forward and dW in the first layer, delta too above.
pub fn product_flops(sizes: &[usize]) -> usize {
    sizes.windows(2).map(|n| 6 * n[0] * n[1]).sum::<usize>() - 2 * sizes[0] * sizes[1]
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
/// Shapes must fit the sizes, and B must be at least 1 and at most the batch size; else the methods panic, or return
/// wrong numbers.
pub trait Network<T: Real>: Send {
    /// Copy parameters in.
    fn load(&mut self, parameters: Parameters<T>);

    /// Copy the parameters out.
    fn parameters(&self) -> Parameters<T>;

    /// Floating-point operations of a step from which threads share it; 0 if they share every step, or none.
    fn worth_sharing(&self) -> usize {
        0
    }

    /// Have threads share steps of so many operations, and larger ones.
    fn share_from(&mut self, _flops: usize) {}

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

/// 1 / (1 + exp(-z)), with z bounded below where exp(-z) would overflow.
pub fn sigmoid<T: Real>(z: T) -> T {
    let bounded = if z < -T::EXP_LIMIT { -T::EXP_LIMIT } else { z }; // NaN stays NaN
    T::one() / (T::one() + (-bounded).exp())
}

/// The sigmoid's derivative, from its value.
pub fn slope<T: Real>(a: T) -> T {
    a * (T::one() - a)
}
