//! The row `rust_tensorflow` of backprop-bench: the post's Rust version of TensorFlow. The network is in `network.rs`;
//! here is the extension module. Examples and parameters are TensorFlow's, copies of what Python gave, and every call
//! that computes releases the interpreter's lock.

#![allow(non_snake_case)] // W is the maths' name

mod network;

use network::{Network as Layers, Real};
use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::{PyImportError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tensorflow::{Status, Tensor};

type Arrays<'py> = Vec<Bound<'py, PyAny>>;

/// Examples in TensorFlow's hands: `x` (N, n_0) and `y` (N, n_L), of one dtype.
#[pyclass(frozen, module = "backprop_bench_rust_tensorflow")]
struct Batch(Box<dyn Any + Send + Sync>); // Examples of f64 or f32

struct Examples<T: Real> {
    x: Tensor<T>,
    y: Tensor<T>,
}

#[pymethods]
impl Batch {
    #[new]
    fn new(x: &Bound<PyAny>, y: &Bound<PyAny>) -> PyResult<Self> {
        fn of<T: Real + Element>(x: &Bound<PyAny>, y: &Bound<PyAny>) -> PyResult<Batch> {
            let examples = Examples { x: tensor::<T>(x)?, y: tensor::<T>(y)? };
            match (examples.x.dims(), examples.y.dims()) {
                (&[of_x, _], &[of_y, _]) if of_x == of_y && of_x > 0 => Ok(Batch(Box::new(examples))),
                (x, y) => Err(PyValueError::new_err(format!(
                    "x and y: expected matrices with as many rows in both, at least one, got shapes {x:?} and {y:?}"
                ))),
            }
        }
        match x.cast::<PyArrayDyn<f64>>().is_ok() {
            true => of::<f64>(x, y),
            false => of::<f32>(x, y),
        }
    }
}

/// A network of `sizes` units trained by the crate `tensorflow`. The first one's `threads` hold for the process.
#[pyclass(frozen, module = "backprop_bench_rust_tensorflow")]
struct Network(Box<dyn Calls>); // a Row of f64 or f32

#[pymethods]
impl Network {
    #[new]
    fn new(sizes: Vec<u64>, dtype: &str, threads: u8) -> PyResult<Self> {
        if sizes.len() < 2 || sizes.contains(&0) || threads == 0 {
            return Err(PyValueError::new_err(format!(
                "expected two or more positive sizes and positive threads, got {sizes:?} and {threads}"
            )));
        }
        fn row<T: Real + Element>(sizes: Vec<u64>, threads: u8) -> PyResult<Network> {
            let layers = Mutex::new(Layers::new::<T>(&sizes, threads).map_err(failed)?);
            Ok(Network(Box::new(Row::<T> { layers, sizes, dtype: std::marker::PhantomData })))
        }
        match dtype {
            "float64" => row::<f64>(sizes, threads),
            "float32" => row::<f32>(sizes, threads),
            _ => Err(PyValueError::new_err(format!("dtype: expected float64 or float32, got {dtype}"))),
        }
    }

    /// Copy in weights (n_out, n_in) and biases (n_out,) of all layers.
    fn load(&self, py: Python, weights: Arrays, biases: Arrays) -> PyResult<()> {
        self.0.load(py, &[weights, biases].concat())
    }

    /// Copies of the weights and of the biases.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
        self.0.parameters(py)
    }

    /// The gradient with respect to the weights and to the biases.
    fn gradients<'py>(&self, py: Python<'py>, batch: &Batch) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
        self.0.gradients(py, batch)
    }

    /// One step of gradient descent.
    fn step(&self, py: Python, batch: &Batch, learning_rate: f64) -> PyResult<()> {
        self.0.step(py, batch, learning_rate)
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
        self.0.epoch(py, data, &values::<i64>(order)?.1, batch_size, learning_rate)
    }
}

/// The calls of `Network`, whatever its dtype.
trait Calls: Send + Sync {
    fn load(&self, py: Python, parameters: &[Bound<PyAny>]) -> PyResult<()>;
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<(Arrays<'py>, Arrays<'py>)>;
    fn gradients<'py>(&self, py: Python<'py>, batch: &Batch) -> PyResult<(Arrays<'py>, Arrays<'py>)>;
    fn step(&self, py: Python, batch: &Batch, learning_rate: f64) -> PyResult<()>;
    fn epoch(&self, py: Python, data: &Batch, order: &[i64], batch_size: usize, learning_rate: f64) -> PyResult<()>;
}

struct Row<T> {
    layers: Mutex<Layers>,
    sizes: Vec<u64>,
    dtype: std::marker::PhantomData<T>,
}

impl<T: Real + Element> Calls for Row<T> {
    fn load(&self, py: Python, parameters: &[Bound<PyAny>]) -> PyResult<()> {
        let new = parameters.iter().map(tensor::<T>).collect::<PyResult<Vec<_>>>()?;
        let expected = self.sizes.windows(2).map(|n| vec![n[1], n[0]]);
        let expected: Vec<_> = expected.chain(self.sizes[1..].iter().map(|&n| vec![n])).collect();
        let got: Vec<_> = new.iter().map(|p| p.dims().to_vec()).collect();
        if got != expected {
            return Err(PyValueError::new_err(format!("expected shapes {expected:?}, got {got:?}")));
        }
        py.detach(|| self.lock().load(&new)).map_err(failed)
    }

    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
        to_python(py, py.detach(|| self.lock().parameters::<T>()).map_err(failed)?)
    }

    fn gradients<'py>(&self, py: Python<'py>, batch: &Batch) -> PyResult<(Arrays<'py>, Arrays<'py>)> {
        let Examples { x, y } = self.examples(batch)?;
        to_python(py, py.detach(|| self.lock().gradients(x, y)).map_err(failed)?)
    }

    fn step(&self, py: Python, batch: &Batch, learning_rate: f64) -> PyResult<()> {
        let Examples { x, y } = self.examples(batch)?;
        py.detach(|| self.lock().step(x, y, T::of(learning_rate))).map_err(failed)
    }

    fn epoch(&self, py: Python, data: &Batch, order: &[i64], batch_size: usize, learning_rate: f64) -> PyResult<()> {
        let Examples { x, y } = self.examples(data)?;
        let examples = x.dims()[0] as i64;
        if batch_size == 0 || order.iter().any(|index| !(0..examples).contains(index)) {
            return Err(PyValueError::new_err(format!(
                "expected a positive batch_size and an order of indices of {examples} examples"
            )));
        }
        py.detach(|| self.lock().epoch(x, y, order, batch_size, T::of(learning_rate))).map_err(failed)
    }
}

impl<T: Real + Element> Row<T> {
    /// The layers. Call it with the interpreter's lock released: whoever holds them may want that lock next.
    fn lock(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The examples of a batch. Raises ValueError unless they are for this network.
    fn examples<'a>(&self, batch: &'a Batch) -> PyResult<&'a Examples<T>> {
        let ends = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        match batch.0.downcast_ref::<Examples<T>>() {
            Some(examples) if (examples.x.dims()[1], examples.y.dims()[1]) == ends => Ok(examples),
            _ => Err(PyValueError::new_err(format!(
                "expected a batch of the network's dtype, of {} inputs and {} outputs",
                ends.0, ends.1
            ))),
        }
    }
}

fn failed(status: Status) -> PyErr {
    PyRuntimeError::new_err(format!("TensorFlow: {status}"))
}

/// The shape and the values of an array, in C's order.
fn values<T: Element + Copy>(array: &Bound<PyAny>) -> PyResult<(Vec<u64>, Vec<T>)> {
    let array = array.call_method0("copy")?.cast_into::<PyArrayDyn<T>>()?.try_readonly()?; // aligned
    let array = array.as_array();
    Ok((array.shape().iter().map(|&n| n as u64).collect(), array.iter().copied().collect()))
}

/// A tensor with a copy of an array's values.
fn tensor<T: Real + Element>(array: &Bound<PyAny>) -> PyResult<Tensor<T>> {
    let (shape, values) = values::<T>(array)?;
    Tensor::new(&shape).with_values(&values).map_err(failed)
}

/// Arrays with copies of the values of weights and, as many, biases.
fn to_python<T: Real + Element>(py: Python, tensors: Vec<Tensor<T>>) -> PyResult<(Arrays, Arrays)> {
    let mut weights = Vec::new();
    for tensor in &tensors {
        let shape: Vec<_> = tensor.dims().iter().map(|&n| n as usize).collect();
        weights.push(PyArray1::from_slice(py, tensor).reshape(shape)?.into_any());
    }
    let biases = weights.split_off(tensors.len() / 2);
    Ok((weights, biases))
}

#[pymodule]
mod backprop_bench_rust_tensorflow {
    use super::PyImportError;
    #[pymodule_export]
    use super::{Batch, Network};
    use pyo3::prelude::*;

    /// Load `libtensorflow.so` from the folder that TENSORFLOW_DIR names, and return its version.
    #[pyfunction]
    fn load() -> PyResult<String> {
        tensorflow::library::load().map_err(PyImportError::new_err)?;
        tensorflow::version().map_err(|error| PyImportError::new_err(error.to_string()))
    }
}
