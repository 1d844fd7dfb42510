//! The network as users of candle, Hugging Face's framework in Rust, write it: linear layers, autograd and an optimiser,
//! without Python. Candle multiplies by the crate `gemm`, over as many threads as RAYON_NUM_THREADS says.

use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real};
use candle_core::{Device, Result, Tensor, Var, WithDType};
use candle_nn::{Linear, Module, Optimizer, SGD, ops};
use ndarray::{Array1, Array2};

const DEVICE: Device = Device::Cpu;

pub struct Candle {
    layers: Vec<Linear>,
    optimiser: SGD,
    parameters: Vec<(Var, Var)>, // weights (n_out, n_in) and biases (n_out,) of each layer: those of `layers`
}

impl Candle {
    pub fn new<T: Real + WithDType>(sizes: &[usize]) -> Result<Self> {
        let mut parameters = Vec::new();
        for n in sizes.windows(2) {
            let (W, b) = ((n[1], n[0]), n[1]);
            parameters.push((Var::zeros(W, T::DTYPE, &DEVICE)?, Var::zeros(b, T::DTYPE, &DEVICE)?));
        }
        let layers = parameters.iter().map(|(W, b)| Linear::new(W.as_tensor().clone(), Some(b.as_tensor().clone())));
        let variables = parameters.iter().flat_map(|(W, b)| [W.clone(), b.clone()]).collect();
        Ok(Self { layers: layers.collect(), optimiser: SGD::new(variables, 0.0)?, parameters })
    }

    /// The cost of the examples `x` (B, n_0) and `y` (B, n_L): 1/(2B) * sum of |a - y|^2.
    fn cost(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let mut a = x.clone();
        for layer in &self.layers {
            a = ops::sigmoid(&layer.forward(&a)?)?; // (B, n_out)
        }
        (a - y)?.sqr()?.sum_all()? * (0.5 / x.dim(0)? as f64)
    }

    fn descend(&mut self, x: &Tensor, y: &Tensor, learning_rate: f64) -> Result<()> {
        self.optimiser.set_learning_rate(learning_rate);
        let cost = self.cost(x, y)?;
        self.optimiser.backward_step(&cost)
    }

    fn set<T: Real + WithDType>(&mut self, from: &Parameters<T>) -> Result<()> {
        for ((W, b), (W_new, b_new)) in self.parameters.iter().zip(from.weights.iter().zip(&from.biases)) {
            W.set(&Tensor::from_iter(W_new.iter().copied(), &DEVICE)?.reshape(W_new.dim())?)?;
            b.set(&Tensor::from_iter(b_new.iter().copied(), &DEVICE)?)?;
        }
        Ok(())
    }

    fn gradient<T: Real + WithDType>(&self, x: &Tensor, y: &Tensor) -> Result<Parameters<T>> {
        let gradient = self.cost(x, y)?.backward()?;
        let of = |variable: &Var| gradient.get(variable).expect("the cost depends on every parameter").clone();
        taken(self.parameters.iter().map(|(W, b)| (of(W), of(b))))
    }
}

/// The values of tensors, as arrays.
fn taken<T: Real + WithDType>(from: impl Iterator<Item = (Tensor, Tensor)>) -> Result<Parameters<T>> {
    let mut found = Parameters { weights: Vec::new(), biases: Vec::new() };
    for (W, b) in from {
        let values = W.flatten_all()?.to_vec1()?;
        found.weights.push(Array2::from_shape_vec(W.dims2()?, values).expect("as many values as the shape says"));
        found.biases.push(Array1::from_vec(b.to_vec1()?));
    }
    Ok(found)
}

/// The tensor of a matrix, made when it is first asked for.
fn tensor<T: Real + WithDType>(matrix: &Matrix<T>) -> &Tensor {
    matrix.tensor.get_or_init(|| {
        let values = Tensor::from_iter(matrix.view().iter().copied(), &DEVICE);
        values.and_then(|values| values.reshape((matrix.rows(), matrix.columns()))).expect("a tensor of this shape")
    })
}

const FAILED: &str = "candle computes on the CPU with shapes that fit";

impl<T: Real + WithDType> Network<T> for Candle {
    fn load(&mut self, parameters: Parameters<T>) {
        self.set(&parameters).expect(FAILED);
    }

    fn parameters(&self) -> Parameters<T> {
        let variables = self.parameters.iter().map(|(W, b)| (W.as_tensor().clone(), b.as_tensor().clone()));
        taken(variables).expect(FAILED)
    }

    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T> {
        self.gradient(tensor(x), tensor(y)).expect(FAILED)
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        self.descend(tensor(x), tensor(y), WithDType::to_f64(learning_rate)).expect(FAILED);
    }

    fn epoch(&mut self, x: &Matrix<T>, y: &Matrix<T>, order: &[usize], batch_size: usize, learning_rate: T) {
        let (x, y) = (tensor(x), tensor(y));
        for indices in order.chunks(batch_size) {
            let indices = indices.iter().map(|&index| index as u32);
            let step = || -> Result<()> {
                let indices = Tensor::from_iter(indices, &DEVICE)?;
                let (x, y) = (x.index_select(&indices, 0)?, y.index_select(&indices, 0)?);
                self.descend(&x, &y, WithDType::to_f64(learning_rate))
            };
            step().expect(FAILED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batched::Batched;
    use crate::blas::Products;
    use ndarray::Array2;

    fn examples(rows: usize, columns: usize) -> Matrix<f64> {
        Matrix::from_view(Array2::from_shape_fn((rows, columns), |(i, j)| ((3 * i + 5 * j) % 7) as f64 / 7.0).view())
    }

    #[test]
    fn an_epoch_is_that_of_matrices() {
        let sizes = [6, 4, 3];
        let (mut row, mut other) = (Candle::new::<f64>(&sizes).unwrap(), Batched::new(&sizes, Products::Ndarray));
        let mut start = Parameters::zeros(&sizes);
        for (number, W) in start.weights.iter_mut().enumerate() {
            W.indexed_iter_mut().for_each(|((i, j), w)| *w = ((i + 2 * j + number) % 5) as f64 / 5.0 - 0.4);
        }
        row.load(start.clone());
        Network::load(&mut other, start);
        let (x, y) = (examples(7, 6), examples(7, 3));
        row.epoch(&x, &y, &[6, 0, 3, 3, 1], 2, 0.5);
        other.epoch(&x, &y, &[6, 0, 3, 3, 1], 2, 0.5);
        let (found, expected): (Parameters<f64>, _) = (row.parameters(), other.parameters());
        for (one, other) in found.weights.iter().zip(&expected.weights) {
            assert!((one - other).iter().all(|difference| difference.abs() < 1e-14));
        }
        for (one, other) in found.biases.iter().zip(&expected.biases) {
            assert!((one - other).iter().all(|difference| difference.abs() < 1e-14));
        }
    }
}
