//! Everything allowed: register-blocked products of the processor's widest vectors, the update part of the product
//! that makes the gradient (W += delta^T a, with delta already scaled by -learning rate / B), no temporaries.

mod elements;
mod forward;
mod products;
mod simd;
mod step;
mod team;
#[cfg(test)]
mod tests;

use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real, product_flops};
use elements::Exp;
use forward::Strips;
use ndarray::Array1;
use products::{Listed, Rows};
use simd::{Portable, Simd, prefetch};
use step::{Input, Job, Panel, Panels};
use team::{Part, Team};

/// Numbers for which all instruction sets are at hand.
pub trait Fusable: Real {
    /// A network for the named instruction set, or for the widest that this processor has.
    ///
    /// # Errors
    /// The instruction sets to choose from, if the named one is not among them.
    fn network(
        simd: Option<&str>,
        sizes: &[usize],
        batch_size: usize,
        threads: usize,
    ) -> Result<Box<dyn Network<Self>>, String>;
}

macro_rules! fusable {
    ($T:ty) => {
        impl Fusable for $T {
            fn network(
                simd: Option<&str>,
                sizes: &[usize],
                batch_size: usize,
                threads: usize,
            ) -> Result<Box<dyn Network<Self>>, String> {
                let wanted = |name| simd.is_none_or(|simd| simd == name);
                #[cfg(target_arch = "x86_64")]
                {
                    if wanted("avx512")
                        && let Some(simd) = simd::x86::Avx512::detect()
                    {
                        return Ok(Box::new(Fused::<$T, _>::new(simd, sizes, batch_size, threads)));
                    }
                    if wanted("avx2")
                        && let Some(simd) = simd::x86::Avx2::detect()
                    {
                        return Ok(Box::new(Fused::<$T, _>::new(simd, sizes, batch_size, threads)));
                    }
                }
                #[cfg(target_arch = "aarch64")]
                if wanted("neon") {
                    return Ok(Box::new(Fused::<$T, _>::new(simd::arm::Neon, sizes, batch_size, threads)));
                }
                if wanted("portable") {
                    return Ok(Box::new(Fused::<$T, _>::new(Portable, sizes, batch_size, threads)));
                }
                Err(format!("expected one of {}, got {}", instruction_sets().join(", "), simd.unwrap_or_default()))
            }
        }
    };
}

fusable!(f64);
fusable!(f32);

/// The names of this processor's instruction sets, widest first.
pub fn instruction_sets() -> Vec<&'static str> {
    let mut names = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        names.extend(simd::x86::Avx512::detect().map(|_| "avx512"));
        names.extend(simd::x86::Avx2::detect().map(|_| "avx2"));
    }
    #[cfg(target_arch = "aarch64")]
    names.push("neon");
    names.push("portable");
    names
}

/// Weights (n_out, n_in) and biases (1, n_out) of each layer.
struct Layers<T> {
    weights: Vec<Matrix<T>>,
    biases: Vec<Matrix<T>>,
}

impl<T: Real> Layers<T> {
    fn zeros(sizes: &[usize]) -> Self {
        Self {
            weights: sizes.windows(2).map(|n| Matrix::zeros(n[1], n[0])).collect(),
            biases: sizes[1..].iter().map(|&n| Matrix::zeros(1, n)).collect(),
        }
    }

    fn panels(&mut self) -> Vec<[Panel<T>; 2]> {
        self.weights.iter_mut().zip(&mut self.biases).map(|(W, b)| [Panel::of(W), Panel::of(b)]).collect()
    }

    fn parameters(&self) -> Parameters<T> {
        Parameters {
            weights: self.weights.iter().map(|W| W.view().to_owned()).collect(),
            biases: self.biases.iter().map(|b| Array1::from_iter(b.view().iter().copied())).collect(),
        }
    }
}

pub struct Fused<T, S> {
    simd: S,
    sizes: Vec<usize>,
    layers: Layers<T>,
    flops: usize, // of a step's products, per example
    worth_waking: usize,
    worth_meeting: usize,
    batch_size: usize,
    _work: Vec<[Matrix<T>; 2]>, // per layer, activations and deltas (B, n_out): reached through `panels`
    _gradient: Layers<T>,       // likewise
    panels: Panels<T>,
    team: Team,
}

/// Floating-point operations from which a job is worth waking threads for: smaller steps took longer with a second one.
const WORTH_WAKING: usize = 8_000_000;

/// Floating-point operations of a step from which it is worth sharing with threads that are awake.
const WORTH_MEETING: usize = 500_000;

fn run(team: &mut Team, shared: bool, job: &(dyn Fn(Part) + Sync)) {
    if shared { team.run(job) } else { Team::alone(job) }
}

impl<T: Exp, S: Simd<T>> Fused<T, S> {
    pub fn new(simd: S, sizes: &[usize], batch_size: usize, threads: usize) -> Self {
        let (mut layers, mut gradient) = (Layers::zeros(sizes), Layers::zeros(sizes));
        let mut work: Vec<_> =
            sizes[1..].iter().map(|&n| [Matrix::zeros(batch_size, n), Matrix::zeros(batch_size, n)]).collect();
        let panels = Panels {
            layers: layers.panels(),
            work: work.iter_mut().map(|pair| pair.each_mut().map(Panel::of)).collect(),
            gradient: gradient.panels(),
            strips: (0..threads).map(|_| Strips::new::<S>(sizes)).collect(),
        };
        Self {
            simd,
            sizes: sizes.to_vec(),
            layers,
            flops: product_flops(sizes),
            worth_waking: WORTH_WAKING,
            worth_meeting: WORTH_MEETING,
            batch_size,
            _work: work,
            _gradient: gradient,
            panels,
            team: Team::new(threads),
        }
    }

    /// # Panics
    /// Unless the examples are as many in both, of this network's inputs and outputs, and `most` is what its work space
    /// holds, or fewer.
    fn check(&self, x: &Matrix<T>, y: &Matrix<T>, most: usize) {
        let (inputs, outputs) = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        assert_eq!((x.columns(), y.columns()), (inputs, outputs), "inputs and outputs");
        assert_eq!(x.rows(), y.rows(), "examples");
        assert!(most <= self.batch_size, "{most} examples, where the work space holds {}", self.batch_size);
    }
}

impl<T: Exp, S: Simd<T>> Network<T> for Fused<T, S> {
    fn load(&mut self, parameters: Parameters<T>) {
        for (mine, theirs) in self.layers.weights.iter_mut().zip(&parameters.weights) {
            mine.assign(theirs.view());
        }
        for (mine, theirs) in self.layers.biases.iter_mut().zip(&parameters.biases) {
            mine.assign(theirs.view().insert_axis(ndarray::Axis(0)));
        }
    }

    fn parameters(&self) -> Parameters<T> {
        self.layers.parameters()
    }

    fn worth_sharing(&self) -> usize {
        self.worth_waking
    }

    fn share_from(&mut self, flops: usize) {
        self.worth_waking = flops;
        self.worth_meeting = flops;
    }

    fn gradients(&mut self, x: &Matrix<T>, y: &Matrix<T>) -> Parameters<T> {
        self.check(x, y, x.rows());
        let mut gradient = Layers::zeros(&self.sizes);
        let targets = gradient.panels();
        let job = Job::new(self.simd, &self.panels, &targets, T::one());
        let (rows, x, y) = (x.rows(), Panel::read_only(x).input(), Panel::read_only(y).strided());
        // SAFETY: `check` for x and y; work space and targets have this network's sizes, and are borrowed with it.
        run(&mut self.team, rows * self.flops >= self.worth_waking, &|part| unsafe { job.step(part, rows, x, y) });
        gradient.parameters()
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        self.check(x, y, x.rows());
        let job = Job::new(self.simd, &self.panels, &self.panels.layers, -learning_rate);
        let (rows, x, y) = (x.rows(), Panel::read_only(x).input(), Panel::read_only(y).strided());
        // SAFETY: as in `gradients`.
        run(&mut self.team, rows * self.flops >= self.worth_waking, &|part| unsafe { job.step(part, rows, x, y) });
    }

    fn epoch(&mut self, x: &Matrix<T>, y: &Matrix<T>, order: &[usize], batch_size: usize, learning_rate: T) {
        self.check(x, y, batch_size);
        assert!(order.iter().all(|&row| row < x.rows()), "the order has other rows than those of the examples");
        let job = Job::new(self.simd, &self.panels, &self.panels.layers, -learning_rate);
        let starts = |matrix: &Matrix<T>| -> Vec<*const T> {
            let all = Panel::read_only(matrix).strided();
            // SAFETY: the order is of rows that the matrix has.
            order.iter().map(|&row| unsafe { all.row(row) }).collect()
        };
        let (of_x, of_y) = (starts(x), starts(y));
        let input = Input { rows: Listed::new(&of_x), columns: x.columns(), stride: x.stride() };
        let y = Listed::new(&of_y);
        run(&mut self.team, batch_size * self.flops >= self.worth_meeting, &|part| {
            for start in (0..order.len()).step_by(batch_size) {
                let rows = batch_size.min(order.len() - start);
                // SAFETY: as in `gradients`, of the rows that the lists have from `start` on; those after them are
                // only fetched.
                unsafe {
                    let next = start + rows;
                    for row in part.share(batch_size.min(order.len() - next), 1) {
                        for line in (0..input.stride).step_by(Matrix::<T>::LANES) {
                            prefetch(input.rows.row(next + row).wrapping_add(line));
                        }
                    }
                    job.step(part, rows, Input { rows: input.rows.cut(start, 0), ..input }, y.cut(start, 0));
                }
                part.meet();
            }
        });
    }
}
