//! The row `rust_tch` of backprop-bench: the post's Rust version of Torch. The network is in `network.rs`; here is the
//! extension module. Examples and parameters are libtorch's, copies of what Python gave, and every call that computes
//! releases the interpreter's lock.

mod network;

use network::Network as Layers;
use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Kind, Tensor};

type Arrays<'py> = Vec<Bound<'py, PyAny>>;

/// Examples in libtorch's hands: `x` (N, n_0) and `y` (N, n_L), of one dtype.
#[pyclass(frozen, module = "backprop_bench_rust_tch")]
struct Batch(Mutex<Examples>);

struct Examples {
    x: Tensor,
    y: Tensor,
}

#[pymethods]
impl Batch {
    #[new]
    fn new(x: &Bound<PyAny>, y: &Bound<PyAny>) -> PyResult<Self> {
        let (x, y) = (tensor(x)?, tensor(y)?);
        if x.dim() != 2 || y.dim() != 2 || x.size()[0] != y.size()[0] || x.size()[0] == 0 {
            return Err(PyValueError::new_err(format!(
                "x and y: expected matrices with as many rows in both, at least one, got shapes {:?} and {:?}",
                x.size(),
                y.size()
            )));
        }
        Ok(Self(Mutex::new(Examples { x, y })))
    }
}

/// A network of `sizes` units trained by tch. `threads` is libtorch's setting, which holds for the process.
#[pyclass(frozen, module = "backprop_bench_rust_tch")]
struct Network {
    layers: Mutex<Layers>,
    ends: (i64, i64), // units of the first and of the last layer
    kind: Kind,
}

#[pymethods]
impl Network {
    #[new]
    fn new(sizes: Vec<i64>, dtype: &str, threads: i32) -> PyResult<Self> {
        let (true, &[first, .., last]) = (threads > 0 && sizes.iter().all(|&n| n > 0), &sizes[..]) else {
            return Err(PyValueError::new_err(format!(
                "expected two or more positive sizes and positive threads, got {sizes:?} and {threads}"
            )));
        };
        let kind = match dtype {
            "float64" => Kind::Double,
            "float32" => Kind::Float,
            _ => return Err(PyValueError::new_err(format!("dtype: expected float64 or float32, got {dtype}"))),
        };
        tch::set_num_threads(threads);
        let layers = Layers::new(&sizes, kind).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { layers: Mutex::new(layers), ends: (first, last), kind })
    }

    /// Copy in weights (n_out, n_in) and biases (n_out,) of all layers.
    fn load(&self, py: Python, weights: Arrays, biases: Arrays) -> PyResult<()> {
        let new = weights.iter().chain(&biases).map(tensor).collect::<PyResult<Vec<_>>>()?;
        py.detach(move || {
            let (weights, biases) = held(&self.layers).parameters();
            let mut mine: Vec<_> = weights.into_iter().chain(biases).collect();
            let told = |tensors: &[Tensor]| tensors.iter().map(|p| (p.size(), p.kind())).collect::<Vec<_>>();
            if told(&new) != told(&mine) {
                return Err(PyValueError::new_err(format!("expected {:?}, got {:?}", told(&mine), told(&new))));
            }
            tch::no_grad(|| mine.iter_mut().zip(&new).for_each(|(p, new)| p.copy_(new)));
            Ok(())
        })
    }

    /// Copies of the weights and of the biases.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
        to_python(py, py.detach(|| held(&self.layers).parameters()))
    }

    /// The gradient with respect to the weights and to the biases.
    fn gradients<'py>(&self, py: Python<'py>, batch: &Batch) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
        to_python(py, self.compute(py, batch, |layers, x, y| layers.gradients(x, y))?)
    }

    /// One step of gradient descent.
    fn step(&self, py: Python, batch: &Batch, learning_rate: f64) -> PyResult<()> {
        self.compute(py, batch, |layers, x, y| layers.step(x, y, learning_rate))
    }

    /// Steps through the examples of `data` in the given order, `batch_size` at a time.
    fn epoch(
        &self,
        py: Python,
        data: &Batch,
        order: &Bound<PyAny>,
        batch_size: usize,
        learning_rate: f64,
    ) -> PyResult<()> {
        let order = values::<i64>(order)?.1;
        self.compute(py, data, |layers, x, y| {
            let examples = x.size()[0];
            if batch_size == 0 || order.iter().any(|index| !(0..examples).contains(index)) {
                return Err(PyValueError::new_err(format!(
                    "expected a positive batch_size and an order of indices of {examples} examples"
                )));
            }
            layers.epoch(x, y, &order, batch_size, learning_rate);
            Ok(())
        })?
    }
}

impl Network {
    /// What `call` returns for the layers and examples, with the interpreter's lock released.
    fn compute<R: Send>(
        &self,
        py: Python,
        batch: &Batch,
        call: impl FnOnce(&mut Layers, &Tensor, &Tensor) -> R + Send,
    ) -> PyResult<R> {
        py.detach(|| {
            let examples = held(&batch.0);
            let Examples { x, y } = &*examples;
            if (x.size()[1], y.size()[1]) != self.ends || (x.kind(), y.kind()) != (self.kind, self.kind) {
                return Err(PyValueError::new_err(format!(
                    "expected examples of {:?} inputs and outputs in {:?}, got {:?} in {:?}",
                    self.ends,
                    self.kind,
                    (x.size()[1], y.size()[1]),
                    (x.kind(), y.kind())
                )));
            }
            Ok(call(&mut held(&self.layers), x, y))
        })
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shape and the values of an array, in C's order.
fn values<T: Element + Copy>(array: &Bound<PyAny>) -> PyResult<(Vec<i64>, Vec<T>)> {
    let array = array.call_method0("copy")?.cast_into::<PyArrayDyn<T>>()?.try_readonly()?; // aligned
    let array = array.as_array();
    Ok((array.shape().iter().map(|&n| n as i64).collect(), array.iter().copied().collect()))
}

/// A tensor with a copy of an array's values, float64 or float32.
fn tensor(array: &Bound<PyAny>) -> PyResult<Tensor> {
    fn of<T: Element + Copy + tch::kind::Element>(array: &Bound<PyAny>) -> PyResult<Tensor> {
        let (shape, values) = values::<T>(array)?;
        Ok(Tensor::from_slice(&values).reshape(shape))
    }
    match array.cast::<PyArrayDyn<f64>>().is_ok() {
        true => of::<f64>(array),
        false => of::<f32>(array),
    }
}

/// Arrays with copies of the tensors' values.
fn to_python<'py>(
    py: Python<'py>,
    (weights, biases): (Vec<Tensor>, Vec<Tensor>),
) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
    let arrays = |tensors: Vec<Tensor>| tensors.iter().map(|tensor| array(py, tensor)).collect::<PyResult<_>>();
    Ok((arrays(weights)?, arrays(biases)?))
}

fn array<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    fn of<'py, T: Element + Copy + tch::kind::Element>(
        py: Python<'py>,
        tensor: &Tensor,
    ) -> PyResult<Bound<'py, PyAny>> {
        let shape: Vec<_> = tensor.size().iter().map(|&n| n as usize).collect();
        let values = Vec::<T>::try_from(tensor.detach().flatten(0, -1)).expect("values of the tensor's own kind");
        Ok(PyArray1::from_vec(py, values).reshape(shape)?.into_any())
    }
    match tensor.kind() {
        Kind::Double => of::<f64>(py, tensor),
        _ => of::<f32>(py, tensor),
    }
}

#[pymodule]
mod backprop_bench_rust_tch {
    #[pymodule_export]
    use super::{Batch, Network};
}
