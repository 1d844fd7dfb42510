//! The mini-batch split over rayon's threads, each share computed as in `batched`; the calling thread takes its own.
//!
//! Shares are added up in their order, so that results depend on the number of threads and on nothing else.

use crate::batched;
use crate::blas::Products;
use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real};
use ndarray::s;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

pub struct Split<T> {
    parameters: Parameters<T>,
    threads: usize,
    helpers: Option<ThreadPool>, // all threads but the calling one
}

impl<T: Real> Split<T> {
    /// # Errors
    /// If the system has no more threads.
    pub fn new(sizes: &[usize], threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let helpers = match threads {
            1 => None,
            _ => Some(ThreadPoolBuilder::new().num_threads(threads - 1).build()?),
        };
        Ok(Self { parameters: Parameters::zeros(sizes), threads, helpers })
    }
}

impl<T: Real> Network<T> for Split<T> {
    fn load(&mut self, parameters: Parameters<T>) {
        self.parameters = parameters;
    }

    fn parameters(&self) -> Parameters<T> {
        self.parameters.clone()
    }

    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T> {
        let rows = x.rows();
        let (x, y) = (x.view(), y.view());
        let share = |thread: usize| {
            let part = rows * thread / self.threads..rows * (thread + 1) / self.threads;
            let (x, y) = (x.slice(s![part.clone(), ..]), y.slice(s![part, ..])); // (b, n_0), (b, n_L)
            batched::gradients(&self.parameters, &Products::Ndarray, x, y, T::of(1.0 / rows as f64))
        };
        let Some(helpers) = &self.helpers else { return share(0) };
        let mut others = vec![None; self.threads - 1];
        let mut sum = helpers.in_place_scope(|scope| {
            for (thread, other) in (1..).zip(&mut others) {
                scope.spawn(move |_| *other = Some(share(thread)));
            }
            share(0)
        });
        for other in others.iter().flatten() {
            sum.add(T::one(), other);
        }
        sum
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        let gradient = self.gradients(x, y);
        self.parameters.add(-learning_rate, &gradient);
    }
}
