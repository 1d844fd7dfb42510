//! Everything allowed: register-blocked products of the processor's widest vectors, the update part of the product
//! that makes the gradient (W += delta^T a, with delta already scaled by -learning rate / B), no temporaries.
//!
//! Threads split each layer's units among them, so each reads and updates its own rows of the weights only, and what
//! goes from core to core is activations and deltas. Every value is computed by one thread, in an order that does not
//! depend on how many there are: results are the same, bit by bit, for any number of threads.

mod elements;
mod products;
mod simd;
mod team;
#[cfg(test)]
mod tests;

use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real, product_flops};
use elements::{Activate, Exp, Slope};
use ndarray::Array1;
use products::{Dots, Multiply};
use simd::{Cache, Portable, Simd, prefetch};
use std::ops::Range;
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

/// Where a matrix lies in memory. Threads share it; each writes values that no other reads or writes meanwhile.
#[derive(Clone, Copy)]
struct Panel<T> {
    start: *mut T,
    stride: usize,
    columns: usize,
}

// SAFETY: a pointer may go anywhere; using it is up to `Job`.
unsafe impl<T> Send for Panel<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Panel<T> {}

impl<T: Real> Panel<T> {
    fn of(matrix: &mut Matrix<T>) -> Self {
        Self { start: matrix.as_mut_ptr(), stride: matrix.stride(), columns: matrix.columns() }
    }

    fn read_only(matrix: &Matrix<T>) -> Self {
        Self { start: matrix.as_ptr().cast_mut(), stride: matrix.stride(), columns: matrix.columns() }
    }

    /// The first `rows` rows in blocks that stay in the cache while all units go over them.
    fn blocks(&self, rows: usize) -> impl DoubleEndedIterator<Item = Range<usize>> + use<T> {
        let most = (CACHED / (self.stride * size_of::<T>())).max(1).next_multiple_of(BLOCK);
        (0..rows).step_by(most).map(move |start| start..rows.min(start + most))
    }
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
    batch: [Matrix<T>; 2],      // (B, n_0), (B, n_L)
    _work: Vec<[Matrix<T>; 2]>, // per layer, activations and deltas (B, n_out): reached through `panels`
    panels: Panels<T>,
    team: Team,
}

/// Bytes of a block of inputs: about what a core has of second-level cache. Half and twice as much are as good.
const CACHED: usize = 1 << 20;

/// Rows of a block come in multiples of this, of every tile's.
const BLOCK: usize = 60;

/// Floating-point operations from which a job is worth waking threads for: smaller steps took longer with a second one.
const WORTH_WAKING: usize = 8_000_000;

/// Floating-point operations of a step from which it is worth sharing with threads that are awake.
const WORTH_MEETING: usize = 500_000;

fn run(team: &mut Team, shared: bool, job: &(dyn Fn(Part) + Sync)) {
    if shared { team.run(job) } else { Team::alone(job) }
}

/// Where all of a network lies.
struct Panels<T> {
    layers: Vec<[Panel<T>; 2]>,
    work: Vec<[Panel<T>; 2]>,
}

impl<T: Exp, S: Simd<T>> Fused<T, S> {
    pub fn new(simd: S, sizes: &[usize], batch_size: usize, threads: usize) -> Self {
        let mut layers = Layers::zeros(sizes);
        let mut work: Vec<_> =
            sizes[1..].iter().map(|&n| [Matrix::zeros(batch_size, n), Matrix::zeros(batch_size, n)]).collect();
        let panels = Panels {
            layers: layers.panels(),
            work: work.iter_mut().map(|pair| pair.each_mut().map(Panel::of)).collect(),
        };
        Self {
            simd,
            sizes: sizes.to_vec(),
            layers,
            flops: product_flops(sizes),
            worth_waking: WORTH_WAKING,
            worth_meeting: WORTH_MEETING,
            batch: [Matrix::zeros(batch_size, sizes[0]), Matrix::zeros(batch_size, sizes[sizes.len() - 1])],
            _work: work,
            panels,
            team: Team::new(threads),
        }
    }

    /// # Panics
    /// Unless the examples are as many in both, of this network's inputs and outputs, and `most` is what its work space
    /// holds, or fewer.
    fn check(&self, x: &Matrix<T>, y: &Matrix<T>, most: usize) {
        let [inputs, outputs] = &self.batch;
        assert_eq!((x.columns(), y.columns()), (inputs.columns(), outputs.columns()), "inputs and outputs");
        assert_eq!(x.rows(), y.rows(), "examples");
        assert!(most <= inputs.rows(), "{most} examples, where the work space holds {}", inputs.rows());
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
        let job = Job { simd: self.simd, panels: &self.panels, targets: &targets, scale: T::one() };
        let (rows, x, y) = (x.rows(), Panel::read_only(x), Panel::read_only(y));
        // SAFETY: `check` for x and y; work space and targets have this network's sizes, and are borrowed with it.
        run(&mut self.team, rows * self.flops >= self.worth_waking, &|part| unsafe { job.step(part, rows, x, y) });
        gradient.parameters()
    }

    fn step(&mut self, x: &Matrix<T>, y: &Matrix<T>, learning_rate: T) {
        self.check(x, y, x.rows());
        let job = Job { simd: self.simd, panels: &self.panels, targets: &self.panels.layers, scale: -learning_rate };
        let (rows, x, y) = (x.rows(), Panel::read_only(x), Panel::read_only(y));
        // SAFETY: as in `gradients`.
        run(&mut self.team, rows * self.flops >= self.worth_waking, &|part| unsafe { job.step(part, rows, x, y) });
    }

    fn epoch(&mut self, x: &Matrix<T>, y: &Matrix<T>, order: &[usize], batch_size: usize, learning_rate: T) {
        self.check(x, y, batch_size);
        assert!(order.iter().all(|&row| row < x.rows()), "the order has other rows than those of the examples");
        let job = Job { simd: self.simd, panels: &self.panels, targets: &self.panels.layers, scale: -learning_rate };
        let data = [x, y].map(Panel::read_only);
        let batch = self.batch.each_mut().map(Panel::of);
        let team = batch_size * self.flops >= self.worth_meeting;
        run(&mut self.team, team, &|part| {
            let mut next = order.chunks(batch_size).skip(1);
            for indices in order.chunks(batch_size) {
                for (from, to) in data.iter().zip(&batch) {
                    for row in part.share(indices.len(), 1) {
                        // SAFETY: both have as many columns, so rows of this stride; `indices` are rows of the data,
                        // and no more than the batch has; this thread alone touches these before the next meeting.
                        unsafe {
                            let from = from.start.add(indices[row] * from.stride);
                            from.copy_to_nonoverlapping(to.start.add(row * to.stride), to.stride);
                        }
                    }
                }
                let next = next.next().unwrap_or_default();
                for row in part.share(next.len(), 1) {
                    let row = data[0].start.wrapping_add(next[row] * data[0].stride);
                    for line in (0..data[0].stride).step_by(Matrix::<T>::LANES) {
                        prefetch(row.wrapping_add(line), Cache::Second);
                    }
                }
                part.meet();
                // SAFETY: as in `gradients`, of the batch, which is complete since all threads met.
                unsafe { job.step(part, indices.len(), batch[0], batch[1]) };
                part.meet();
            }
        });
    }
}

/// One pass forward and back: gradient * scale is added to the targets.
///
/// # Safety
/// The methods read and write wherever the panels say. All panels must be valid for the shapes that the network's sizes
/// give them, with `rows` rows or more of examples; the targets and the work space for writing. Nobody but the threads
/// of the job may touch them meanwhile, and each of them calls `step` with its own part and as many rows.
struct Job<'a, T, S> {
    simd: S,
    panels: &'a Panels<T>,
    targets: &'a [[Panel<T>; 2]],
    scale: T,
}

impl<T: Exp, S: Simd<T>> Job<'_, T, S> {
    /// # Safety
    /// See `Job`; `x` are inputs of the network, and `y` outputs.
    unsafe fn step(&self, part: Part, rows: usize, x: Panel<T>, y: Panel<T>) {
        let scale = self.scale / T::of(rows as f64);
        let last = self.panels.work.len() - 1;
        let inputs = |layer: usize| if layer == 0 { x } else { self.panels.work[layer - 1][0] };

        // SAFETY: the caller's; every thread writes to its own units, and meets the others before it reads theirs.
        unsafe {
            for layer in 0..=last {
                self.forward(layer, rows, inputs(layer), self.share(part, layer));
                if layer < last {
                    part.meet();
                }
            }
            self.slope(last, rows, Some((y, scale)), self.share(part, last));
            part.meet();
            for layer in (0..=last).rev() {
                if layer > 0 {
                    self.backward(layer, rows, self.share(part, layer - 1));
                    self.slope(layer - 1, rows, None, self.share(part, layer - 1));
                    part.meet();
                }
                self.update(layer, rows, inputs(layer), self.share(part, layer));
            }
        }
    }

    /// This thread's units of a layer, whole cache lines of them.
    fn share(&self, part: Part, layer: usize) -> Range<usize> {
        part.share(self.panels.work[layer][0].columns, Matrix::<T>::LANES)
    }

    /// a = sigmoid(input W^T + b), for these units.
    ///
    /// # Safety
    /// See `Job`; between two meetings, `units` are this thread's alone.
    unsafe fn forward(&self, layer: usize, rows: usize, input: Panel<T>, units: Range<usize>) {
        let ([W, b], [a, _]) = (self.panels.layers[layer], self.panels.work[layer]);
        if units.is_empty() {
            return;
        }
        let vectors = units.len().div_ceil(S::LANES);
        // SAFETY: rows of `input` and W are n_in values and padding, up to a whole number of vectors; those of a hold
        // `units`, which no other thread touches before the next meeting.
        unsafe {
            let z = a.start.add(units.start);
            for block in input.blocks(rows) {
                self.simd.run(Dots {
                    rows: block.len(),
                    columns: units.len(),
                    vectors: input.columns.div_ceil(S::LANES),
                    a: input.start.add(block.start * input.stride),
                    a_row: input.stride,
                    b: W.start.add(units.start * W.stride),
                    b_row: W.stride,
                    c: z.add(block.start * a.stride),
                    c_row: a.stride,
                });
            }
            self.simd.run(Activate {
                rows,
                vectors,
                lanes: units.len() - (vectors - 1) * S::LANES,
                z,
                z_row: a.stride,
                bias: b.start.add(units.start),
            });
        }
    }

    /// delta = the next layer's delta W, for these units: not yet times the sigmoid's slope.
    ///
    /// # Safety
    /// See `Job`; between two meetings, `units` are this thread's alone.
    unsafe fn backward(&self, layer: usize, rows: usize, units: Range<usize>) {
        let [W, _] = self.panels.layers[layer];
        let ([_, above], [_, delta]) = (self.panels.work[layer], self.panels.work[layer - 1]);
        // SAFETY: rows of W and delta hold `units` in whole vectors, padding included; no other thread writes `above`
        // or W, nor touches these units of delta, before the next meeting.
        unsafe {
            self.simd.run(Multiply {
                rows,
                vectors: units.len().div_ceil(S::LANES),
                depth: above.columns,
                a: above.start,
                a_row: above.stride,
                a_depth: 1,
                b: W.start.add(units.start),
                b_row: W.stride,
                c: delta.start.add(units.start),
                c_row: delta.stride,
                accumulate: false,
            });
        }
    }

    /// delta *= a (1 - a), and its sum over the examples goes to the biases; `error` where delta is (a - y) * scale.
    ///
    /// # Safety
    /// See `Job`; between two meetings, `units` are this thread's alone.
    unsafe fn slope(&self, layer: usize, rows: usize, error: Option<(Panel<T>, T)>, units: Range<usize>) {
        let ([_, b], [a, delta]) = (self.targets[layer], self.panels.work[layer]);
        // SAFETY: all rows hold `units` in whole vectors, padding included; no other thread touches these units of
        // delta and b before the next meeting.
        unsafe {
            self.simd.run(Slope {
                rows,
                vectors: units.len().div_ceil(S::LANES),
                delta: delta.start.add(units.start),
                a: a.start.add(units.start),
                row: delta.stride,
                y: error.map(|(y, _)| (y.start.add(units.start).cast_const(), y.stride)),
                scale: error.map_or(T::one(), |(_, scale)| scale),
                sums: b.start.add(units.start),
            });
        }
    }

    /// W += delta^T input, for the rows of these units; first the inputs that `forward` left in the cache.
    ///
    /// # Safety
    /// See `Job`; between two meetings, `units` are this thread's alone.
    unsafe fn update(&self, layer: usize, rows: usize, input: Panel<T>, units: Range<usize>) {
        let ([W, _], [_, delta]) = (self.targets[layer], self.panels.work[layer]);
        // SAFETY: rows of W and input are n_in values and padding, in whole vectors; no other thread touches the rows
        // of these units before the next meeting.
        unsafe {
            for block in input.blocks(rows).rev() {
                self.simd.run(Multiply {
                    rows: units.len(),
                    vectors: input.columns.div_ceil(S::LANES),
                    depth: block.len(),
                    a: delta.start.add(units.start + block.start * delta.stride),
                    a_row: 1,
                    a_depth: delta.stride,
                    b: input.start.add(block.start * input.stride),
                    b_row: input.stride,
                    c: W.start.add(units.start * W.stride),
                    c_row: W.stride,
                    accumulate: true,
                });
            }
        }
    }
}
