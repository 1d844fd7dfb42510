//! The extension module: `Batch` holds examples, `Network` is any row. Both keep copies, so that no Python object is
//! touched while the interpreter's lock is released, which is in every call that computes.

use crate::batched::Batched;
use crate::blas::{Blas, Gemm, Products};
use crate::candle::Candle;
use crate::fused::{self, Fusable};
use crate::matrix::Matrix;
use crate::network::{self, Parameters, Real};
use crate::per_example::PerExample;
use crate::split::Split;
use candle_core::WithDType;
use numpy::{
    Element, Ix1, Ix2, PyArray, PyArray1, PyArray2, PyReadonlyArray, PyUntypedArrayMethods, ToPyArray,
    ndarray::Dimension,
};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyImportError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something for float64 or for float32.
enum Either<A, B> {
    F64(A),
    F32(B),
}
use Either::{F32, F64};

/// The array, or a copy of it if its values are not aligned: NumPy allows that, Rust's references do not.
fn aligned<'py, T: Element, D: Dimension>(array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray<'py, T, D>> {
    match array.cast::<PyArray<T, D>>()?.is_aligned() {
        true => Ok(array.extract()?),
        false => Ok(array.call_method0("copy")?.extract()?),
    }
}

struct Examples<T> {
    x: Matrix<T>, // (N, n_0)
    y: Matrix<T>, // (N, n_L)
}

/// Examples in Rust's hands: `x` (N, n_0) and `y` (N, n_L), of one dtype.
#[pyclass(frozen, module = "backprop_bench_rust")]
struct Batch(Either<Examples<f64>, Examples<f32>>);

#[pymethods]
impl Batch {
    #[new]
    fn new(x: &Bound<PyAny>, y: &Bound<PyAny>) -> PyResult<Self> {
        fn examples<T: Real + Element>(x: &Bound<PyAny>, y: &Bound<PyAny>) -> PyResult<Option<Examples<T>>> {
            let (Ok(x), Ok(y)) = (aligned::<T, Ix2>(x), aligned::<T, Ix2>(y)) else { return Ok(None) };
            let (x, y) = (x.as_array(), y.as_array());
            if x.nrows() != y.nrows() || x.is_empty() || y.is_empty() {
                return Err(PyValueError::new_err(format!(
                    "x and y: expected as many examples in both, at least one, got shapes {:?} and {:?}",
                    x.dim(),
                    y.dim()
                )));
            }
            Ok(Some(Examples { x: Matrix::from_view(x), y: Matrix::from_view(y) }))
        }
        if let Some(examples) = examples(x, y)? {
            return Ok(Self(F64(examples)));
        }
        if let Some(examples) = examples(x, y)? {
            return Ok(Self(F32(examples)));
        }
        Err(PyValueError::new_err("x and y: expected 2-dimensional arrays, both of float64 or both of float32"))
    }

    fn __len__(&self) -> usize {
        match &self.0 {
            F64(examples) => examples.x.rows(),
            F32(examples) => examples.x.rows(),
        }
    }
}

/// A row's algorithm with its parameters, for one dtype.
struct Row<T> {
    network: Mutex<Box<dyn network::Network<T>>>,
    sizes: Vec<usize>,
    batch_size: usize,
}

/// A network trained by one of the algorithms `per_example`, `batched`, `split`, `candle` and `fused`.
///
/// `products` is who multiplies matrices for the first two: `ndarray`, `gemm` for that crate, or `scipy` for the BLAS
/// that SciPy ships; `simd` the instruction set of `fused`, the widest there is if None.
#[pyclass(frozen, module = "backprop_bench_rust")]
struct Network(Either<Row<f64>, Row<f32>>);

type PyParameters<'py, T> = (Vec<Bound<'py, PyArray2<T>>>, Vec<Bound<'py, PyArray1<T>>>);

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (algorithm, sizes, batch_size, dtype, threads = 1, *, products = "ndarray", simd = None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python,
        algorithm: &str,
        sizes: Vec<usize>,
        batch_size: usize,
        dtype: &str,
        threads: usize,
        products: &str,
        simd: Option<&str>,
    ) -> PyResult<Self> {
        if sizes.len() < 2 || sizes.contains(&0) || batch_size == 0 || threads == 0 {
            return Err(PyValueError::new_err(format!(
                "expected two or more positive sizes, a positive batch_size and positive threads, \
                 got {sizes:?}, {batch_size} and {threads}"
            )));
        }
        if sizes.iter().chain([&batch_size]).any(|&n| n > i32::MAX as usize) {
            return Err(PyValueError::new_err(format!("expected sizes below 2^31, got {sizes:?} and {batch_size}")));
        }
        let setup = Setup { algorithm, sizes, batch_size, threads, products, simd };
        match dtype {
            "float64" => Ok(Self(F64(setup.row(py, "dgemm", "d")?))),
            "float32" => Ok(Self(F32(setup.row(py, "sgemm", "s")?))),
            _ => Err(PyValueError::new_err(format!("dtype: expected float64 or float32, got {dtype}"))),
        }
    }

    /// Copy in weights (n_out, n_in) and biases (n_out,) of all layers.
    fn load(&self, py: Python, weights: Vec<Bound<PyAny>>, biases: Vec<Bound<PyAny>>) -> PyResult<()> {
        match &self.0 {
            F64(row) => row.load(py, &weights, &biases),
            F32(row) => row.load(py, &weights, &biases),
        }
    }

    /// Copies of the weights and of the biases.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.0 {
            F64(row) => to_python(py, &py.detach(|| row.lock().parameters())).into_bound_py_any(py),
            F32(row) => to_python(py, &py.detach(|| row.lock().parameters())).into_bound_py_any(py),
        }
    }

    /// Floating-point operations of a step from which threads share it; 0 if they share every step, or none.
    #[getter]
    fn worth_sharing(&self, py: Python) -> usize {
        py.detach(|| match &self.0 {
            F64(row) => row.lock().worth_sharing(),
            F32(row) => row.lock().worth_sharing(),
        })
    }

    #[setter]
    fn set_worth_sharing(&self, py: Python, flops: usize) {
        py.detach(|| match &self.0 {
            F64(row) => row.lock().share_from(flops),
            F32(row) => row.lock().share_from(flops),
        });
    }

    /// The gradient with respect to the weights and to the biases.
    fn gradients<'py>(&self, py: Python<'py>, batch: &Batch) -> PyResult<Bound<'py, PyAny>> {
        match (&self.0, &batch.0) {
            (F64(row), F64(batch)) => row.gradients(py, batch)?.into_bound_py_any(py),
            (F32(row), F32(batch)) => row.gradients(py, batch)?.into_bound_py_any(py),
            _ => Err(other_dtype()),
        }
    }

    /// One step of gradient descent.
    fn step(&self, py: Python, batch: &Batch, learning_rate: f64) -> PyResult<()> {
        match (&self.0, &batch.0) {
            (F64(row), F64(batch)) => row.step(py, batch, learning_rate),
            (F32(row), F32(batch)) => row.step(py, batch, learning_rate),
            _ => Err(other_dtype()),
        }
    }

    /// Steps through the examples of `data` in the given order, `batch_size` at a time.
    fn epoch(&self, py: Python, data: &Batch, order: &Bound<PyAny>, learning_rate: f64) -> PyResult<()> {
        let examples = data.__len__();
        let order = aligned::<isize, Ix1>(order)?
            .as_array()
            .iter()
            .map(|&index| usize::try_from(index).ok().filter(|&index| index < examples).ok_or(index))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|index| {
                PyValueError::new_err(format!("order: expected indices of {examples} examples, got {index}"))
            })?;
        match (&self.0, &data.0) {
            (F64(row), F64(data)) => row.epoch(py, data, &order, learning_rate),
            (F32(row), F32(data)) => row.epoch(py, data, &order, learning_rate),
            _ => Err(other_dtype()),
        }
    }
}

fn other_dtype() -> PyErr {
    PyValueError::new_err("expected a batch of the network's dtype; prepare it with the implementation that uses it")
}

fn to_python<'py, T: Real + Element>(py: Python<'py>, parameters: &Parameters<T>) -> PyParameters<'py, T> {
    (
        parameters.weights.iter().map(|W| W.to_pyarray(py)).collect(),
        parameters.biases.iter().map(|b| b.to_pyarray(py)).collect(),
    )
}

/// The arguments of `Network`.
struct Setup<'a> {
    algorithm: &'a str,
    sizes: Vec<usize>,
    batch_size: usize,
    threads: usize,
    products: &'a str,
    simd: Option<&'a str>,
}

impl Setup<'_> {
    fn row<T: Fusable + WithDType>(self, py: Python, gemm: &str, letter: &str) -> PyResult<Row<T>> {
        let Self { algorithm, sizes, batch_size, threads, products, simd } = self;
        let products = match products {
            "ndarray" => Products::Ndarray,
            "gemm" => Products::Gemm,
            "scipy" => Products::Blas(scipy_gemm(py, gemm, letter)?),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "products: expected ndarray, gemm or scipy, got {products}"
                )));
            }
        };
        let network: Box<dyn network::Network<T>> = match algorithm {
            "per_example" => Box::new(PerExample::new(&sizes, products)),
            "batched" => Box::new(Batched::new(&sizes, products)),
            "candle" => Box::new(Candle::new::<T>(&sizes).map_err(|error| PyValueError::new_err(error.to_string()))?),
            "split" => Box::new(Split::new(&sizes, threads).map_err(|error| PyOSError::new_err(error.to_string()))?),
            "fused" => T::network(simd, &sizes, batch_size, threads)
                .map_err(|error| PyValueError::new_err(format!("simd: {error}")))?,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "algorithm: expected per_example, batched, split, candle or fused, got {algorithm}"
                )));
            }
        };
        Ok(Row { network: Mutex::new(network), sizes, batch_size })
    }
}

/// SciPy's xGEMM for T, whose Cython type ends in `letter`.
fn scipy_gemm<T: Real>(py: Python, name: &str, letter: &str) -> PyResult<Blas<T>> {
    let capsule = py.import("scipy.linalg.cython_blas")?.getattr("__pyx_capi__")?.get_item(name)?;
    let number = format!("__pyx_t_5scipy_6linalg_11cython_blas_{letter} *");
    let signature = format!(
        "void (char *, char *, int *, int *, int *, {number}, {number}, int *, {number}, int *, {number}, {number}, int *)"
    );
    let signature = std::ffi::CString::new(signature)?;
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(&signature)).map_err(|error| {
        PyImportError::new_err(format!("scipy.linalg.cython_blas.{name} has another signature than expected: {error}"))
    })?;
    // SAFETY: the capsule's name is the function's type, and it is `Gemm<T>`; SciPy, once imported, stays.
    Ok(unsafe { Blas::new(std::mem::transmute::<*mut std::ffi::c_void, Gemm<T>>(pointer.as_ptr())) })
}

impl<T: Real + Element> Row<T> {
    /// The network. Call it with the interpreter's lock released: whoever holds the network may want that lock next.
    fn lock(&self) -> MutexGuard<'_, Box<dyn network::Network<T>>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, py: Python, weights: &[Bound<PyAny>], biases: &[Bound<PyAny>]) -> PyResult<()> {
        let mut parameters = Parameters { weights: Vec::new(), biases: Vec::new() };
        for W in weights {
            parameters.weights.push(aligned::<T, Ix2>(W)?.as_array().to_owned());
        }
        for b in biases {
            parameters.biases.push(aligned::<T, Ix1>(b)?.as_array().to_owned());
        }
        let got: Vec<_> = parameters.weights.iter().map(|W| (W.nrows(), W.ncols())).collect();
        let expected: Vec<_> = self.sizes.windows(2).map(|n| (n[1], n[0])).collect();
        let lengths: Vec<_> = parameters.biases.iter().map(|b| b.len()).collect();
        if got != expected || lengths != self.sizes[1..] {
            return Err(PyValueError::new_err(format!(
                "expected weights {expected:?} and biases {:?}, got {got:?} and {lengths:?}",
                &self.sizes[1..]
            )));
        }
        py.detach(|| self.lock().load(parameters));
        Ok(())
    }

    fn gradients<'py>(&self, py: Python<'py>, batch: &Examples<T>) -> PyResult<PyParameters<'py, T>> {
        self.check(batch, Some(self.batch_size))?;
        let gradient = py.detach(|| self.lock().gradients(&batch.x, &batch.y));
        Ok(to_python(py, &gradient))
    }

    fn step(&self, py: Python, batch: &Examples<T>, learning_rate: f64) -> PyResult<()> {
        self.check(batch, Some(self.batch_size))?;
        py.detach(|| self.lock().step(&batch.x, &batch.y, T::of(learning_rate)));
        Ok(())
    }

    fn epoch(&self, py: Python, data: &Examples<T>, order: &[usize], learning_rate: f64) -> PyResult<()> {
        self.check(data, None)?;
        py.detach(|| self.lock().epoch(&data.x, &data.y, order, self.batch_size, T::of(learning_rate)));
        Ok(())
    }

    /// Raise ValueError unless the examples are for this network, and not more than its work space holds.
    fn check(&self, examples: &Examples<T>, most: Option<usize>) -> PyResult<()> {
        let expected = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        let got = (examples.x.columns(), examples.y.columns());
        if got != expected {
            return Err(PyValueError::new_err(format!(
                "expected examples of {} inputs and {} outputs, got {} and {}",
                expected.0, expected.1, got.0, got.1
            )));
        }
        let rows = examples.x.rows();
        match most {
            Some(most) if rows > most => Err(PyValueError::new_err(format!(
                "batch of {rows} examples: the work space holds {most}; construct the network with a larger batch_size"
            ))),
            _ => Ok(()),
        }
    }
}

#[pymodule]
mod backprop_bench_rust {
    #[pymodule_export]
    use super::{Batch, Network};
    use pyo3::prelude::*;

    /// The names of this processor's instruction sets, widest first.
    #[pyfunction]
    fn instruction_sets() -> Vec<&'static str> {
        super::fused::instruction_sets()
    }
}
