//! The post's algorithm, as it describes it: one example at a time, column vectors, a fresh array for every result,
//! `mapv` for the element-wise parts. Right for any depth.

use crate::blas::Products;
use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real, sigmoid, slope};
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// Gradients of the weights (n_out, n_in) and of the biases (n_out, 1), per layer.
type Nabla<T> = (Vec<Array2<T>>, Vec<Array2<T>>);

pub struct PerExample<T> {
    weights: Vec<Array2<T>>, // (n_out, n_in)
    biases: Vec<Array2<T>>,  // (n_out, 1)
    products: Products<T>,
}

impl<T: Real> PerExample<T> {
    pub fn new(sizes: &[usize], products: Products<T>) -> Self {
        let mut network = Self { weights: Vec::new(), biases: Vec::new(), products };
        network.load(Parameters::zeros(sizes));
        network
    }

    /// The gradient's sum over the mini-batch.
    fn sums(&self, x: &Matrix<T>, y: &Matrix<T>) -> Nabla<T> {
        let mut nabla_W: Vec<_> = self.weights.iter().map(|W| Array2::zeros(W.dim())).collect();
        let mut nabla_b: Vec<_> = self.biases.iter().map(|b| Array2::zeros(b.dim())).collect();
        for (x, y) in x.view().rows().into_iter().zip(y.view().rows()) {
            let (delta_W, delta_b) = self.backprop(x.insert_axis(Axis(1)), y.insert_axis(Axis(1)));
            for (sum, dW) in nabla_W.iter_mut().zip(&delta_W) {
                *sum += dW;
            }
            for (sum, db) in nabla_b.iter_mut().zip(&delta_b) {
                *sum += db;
            }
        }
        (nabla_W, nabla_b)
    }

    /// The gradient of one example's cost: `x` (n_0, 1), `y` (n_L, 1).
    fn backprop(&self, x: ArrayView2<T>, y: ArrayView2<T>) -> Nabla<T> {
        let dot = |a: ArrayView2<T>, b: ArrayView2<T>| self.products.dot(a, b);
        let layers = self.weights.len();
        let mut activations: Vec<Array2<T>> = vec![x.to_owned()];
        for (W, b) in self.weights.iter().zip(&self.biases) {
            let z = dot(W.view(), activations[activations.len() - 1].view()) + b; // (n_out, 1)
            activations.push(z.mapv(sigmoid)); // (n_out, 1)
        }
        let delta = (&activations[layers] - &y) * activations[layers].mapv(slope); // (n_L, 1)
        let mut dW = vec![dot(delta.view(), activations[layers - 1].t())]; // (n_out, n_in), last layer first
        let mut db = vec![delta]; // (n_out, 1)
        for layer in (1..layers).rev() {
            let delta = dot(self.weights[layer].t(), db[db.len() - 1].view()) * activations[layer].mapv(slope);
            dW.push(dot(delta.view(), activations[layer - 1].t()));
            db.push(delta);
        }
        dW.reverse();
        db.reverse();
        (dW, db)
    }
}

impl<T: Real> Network<T> for PerExample<T> {
    fn load(&mut self, parameters: Parameters<T>) {
        self.weights = parameters.weights;
        self.biases = parameters.biases.into_iter().map(|b| b.insert_axis(Axis(1))).collect();
    }

    fn parameters(&self) -> Parameters<T> {
        Parameters {
            weights: self.weights.clone(),
            biases: self.biases.iter().map(|b| b.column(0).to_owned()).collect(),
        }
    }

    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T> {
        let (nabla_W, nabla_b) = self.sums(x, y);
        let rows = T::of(x.rows() as f64);
        Parameters {
            weights: nabla_W.iter().map(|sum| sum.mapv(|d| d / rows)).collect(),
            biases: nabla_b.iter().map(|sum| Array1::from_iter(sum.iter().map(|&d| d / rows))).collect(),
        }
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        let (nabla_W, nabla_b) = self.sums(x, y);
        let rate = learning_rate / T::of(x.rows() as f64);
        for (W, sum) in self.weights.iter_mut().zip(&nabla_W) {
            *W -= &sum.mapv(|d| rate * d);
        }
        for (b, sum) in self.biases.iter_mut().zip(&nabla_b) {
            *b -= &sum.mapv(|d| rate * d);
        }
    }
}
