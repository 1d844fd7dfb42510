//! The mini-batch split over rayon's threads, each share computed as in `batched`; the calling thread takes its own.
//!
//! Then each thread takes a slice of every layer's units and updates their weights from all shares' gradients, in the
//! order of the shares, so that results depend on the number of threads and on nothing else. Waking threads takes
//! longer than a small step does, so steps below a number of operations are the calling thread's alone; the more so the larger the network is.

use crate::batched;
use crate::blas::Products;
use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real, product_flops};
use ndarray::{ArrayViewMut2, Axis, s};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Floating-point operations that take as long as waking a thread.
const WAKING: usize = 10_000_000;

/// Floating-point operations per weight that take as long as another gradient, which each thread has to itself.
const GRADIENT: usize = 40;

pub struct Split<T> {
    parameters: Parameters<T>,
    flops: usize, // of a step's products, per example
    worth_sharing: usize,
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
        let weights: usize = sizes.windows(2).map(|n| n[0] * n[1]).sum();
        Ok(Self {
            parameters: Parameters::zeros(sizes),
            flops: product_flops(sizes),
            worth_sharing: WAKING + GRADIENT * weights,
            threads,
            helpers,
        })
    }

    /// The threads besides the calling one, if so many examples are worth waking them.
    fn helpers(&self, rows: usize) -> Option<&ThreadPool> {
        self.helpers.as_ref().filter(|_| rows * self.flops >= self.worth_sharing)
    }

    /// The gradients of the threads' shares of the examples, which add up to that of them all.
    fn shares(&self, x: &Matrix<T>, y: &Matrix<T>) -> Vec<Parameters<T>> {
        let rows = x.rows();
        let (x, y, weight) = (x.view(), y.view(), T::of(1.0 / rows as f64));
        let share = |part: usize, parts: usize| {
            let part = rows * part / parts..rows * (part + 1) / parts;
            let (x, y) = (x.slice(s![part.clone(), ..]), y.slice(s![part, ..])); // (b, n_0), (b, n_L)
            batched::gradients(&self.parameters, &Products::Ndarray, x, y, weight)
        };
        let Some(helpers) = self.helpers(rows) else { return vec![share(0, 1)] };
        let parts = self.threads.min(rows);
        let mut others = vec![None; parts - 1];
        let first = helpers.in_place_scope(|scope| {
            for (part, other) in (1..).zip(&mut others) {
                scope.spawn(move |_| *other = Some(share(part, parts)));
            }
            share(0, parts)
        });
        std::iter::once(first).chain(others.into_iter().flatten()).collect()
    }
}

impl<T: Real> Network<T> for Split<T> {
    fn load(&mut self, parameters: Parameters<T>) {
        self.parameters = parameters;
    }

    fn parameters(&self) -> Parameters<T> {
        self.parameters.clone()
    }

    fn worth_sharing(&self) -> usize {
        self.worth_sharing
    }

    fn share_from(&mut self, flops: usize) {
        self.worth_sharing = flops;
    }

    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T> {
        let mut shares = self.shares(x, y);
        let mut sum = shares.remove(0);
        for share in &shares {
            sum.add(T::one(), share);
        }
        sum
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        let shares = self.shares(x, y);
        let Some(helpers) = self.helpers.as_ref().filter(|_| shares.len() > 1) else {
            return self.parameters.add(-learning_rate, &shares[0]);
        };
        let mut slices: Vec<Vec<_>> = shares.iter().map(|_| Vec::new()).collect(); // a thread's units of all layers
        for (layer, W) in self.parameters.weights.iter_mut().enumerate() {
            let height = W.nrows().div_ceil(shares.len());
            for (thread, units) in W.axis_chunks_iter_mut(Axis(0), height).enumerate() {
                slices[thread].push((layer, thread * height, units));
            }
        }
        let update = |slice: Vec<(usize, usize, ArrayViewMut2<T>)>| {
            for (layer, start, mut W) in slice {
                for share in &shares {
                    let dW = share.weights[layer].slice(s![start..start + W.nrows(), ..]); // (units, n_in)
                    W.scaled_add(-learning_rate, &dW);
                }
            }
        };
        let mine = slices.swap_remove(0);
        helpers.in_place_scope(|scope| {
            for slice in slices {
                scope.spawn(|_| update(slice));
            }
            update(mine);
        });
        for share in &shares {
            for (b, db) in self.parameters.biases.iter_mut().zip(&share.biases) {
                b.scaled_add(-learning_rate, db);
            }
        }
    }
}
