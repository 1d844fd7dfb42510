//! The mini-batch as a matrix: the later form of the post's code, one product of matrices for each product in the
//! maths, a fresh array for every result. Right for any depth and any size of mini-batch.

use crate::blas::Products;
use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real, sigmoid, slope};
use ndarray::{Array2, ArrayView2, Axis};

pub struct Batched<T> {
    parameters: Parameters<T>,
    products: Products<T>,
}

impl<T: Real> Batched<T> {
    pub fn new(sizes: &[usize], products: Products<T>) -> Self {
        Self { parameters: Parameters::zeros(sizes), products }
    }
}

/// The gradient of the cost of the examples `x` (b, n_0) and `y` (b, n_L), their errors weighted by `weight` each.
pub fn gradients<T: Real>(
    parameters: &Parameters<T>,
    products: &Products<T>,
    x: ArrayView2<T>,
    y: ArrayView2<T>,
    weight: T,
) -> Parameters<T> {
    let Parameters { weights, biases } = parameters;
    let layers = weights.len();
    let mut activations: Vec<Array2<T>> = Vec::with_capacity(layers); // of the layers after the inputs
    for (layer, (W, b)) in weights.iter().zip(biases).enumerate() {
        let input = if layer == 0 { x } else { activations[layer - 1].view() };
        let z = products.dot(input, W.t()) + b; // (b, n_out)
        activations.push(z.mapv_into(sigmoid)); // (b, n_out)
    }
    let a = &activations[layers - 1];
    let mut delta = (a - &y) * a.mapv(slope) * weight; // (b, n_L)
    let mut gradient = Parameters { weights: Vec::with_capacity(layers), biases: Vec::with_capacity(layers) };
    for layer in (0..layers).rev() {
        let input = if layer == 0 { x } else { activations[layer - 1].view() };
        gradient.weights.push(products.dot(delta.t(), input)); // (n_out, n_in)
        gradient.biases.push(delta.sum_axis(Axis(0))); // (n_out,)
        if layer > 0 {
            delta = products.dot(delta.view(), weights[layer].view()) * input.mapv(slope); // (b, n_in)
        }
    }
    gradient.weights.reverse();
    gradient.biases.reverse();
    gradient
}

impl<T: Real> Parameters<T> {
    /// self += factor * other
    pub fn add(&mut self, factor: T, other: &Self) {
        for (mine, theirs) in self.weights.iter_mut().zip(&other.weights) {
            mine.scaled_add(factor, theirs);
        }
        for (mine, theirs) in self.biases.iter_mut().zip(&other.biases) {
            mine.scaled_add(factor, theirs);
        }
    }
}

impl<T: Real> Network<T> for Batched<T> {
    fn load(&mut self, parameters: Parameters<T>) {
        self.parameters = parameters;
    }

    fn parameters(&self) -> Parameters<T> {
        self.parameters.clone()
    }

    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T> {
        gradients(&self.parameters, &self.products, x.view(), y.view(), T::of(1.0 / x.rows() as f64))
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        let gradient = self.gradients(x, y);
        self.parameters.add(-learning_rate, &gradient);
    }
}
