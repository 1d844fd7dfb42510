//! One pass forward and back, shared among threads.
//!
//! They split the larger operand (`Split`), so that what goes from core to core is the smaller one. Every value is
//! computed by one thread, in an order that does not depend on how many there are: results are the same, bit by bit,
//! for any number of threads.

use super::elements::{Activate, Exp, Slope};
use super::forward::{Product, Strips, Way};
use super::products::{Multiply, Rows, Strided};
use super::simd::Simd;
use super::team::Part;
use crate::matrix::Matrix;
use crate::network::Real;
use std::ops::Range;

/// Bytes of a block of inputs, which stay in a core's second-level cache while the weights go by.
const CACHED: usize = 3 << 17;

/// Bytes of inputs that go forward and back at a time in a mini-batch of `PASSES` times as many or more: it comes from
/// memory once then, not twice. Not where the gradient, which each pass adds to, takes more than that.
const PASSED: usize = 2 << 20;
const PASSES: usize = 4;

/// Examples per unit of the widest layer above which threads split them: with fewer, a step took longer so.
const EXAMPLES_PER_UNIT: usize = 2;

/// Where a matrix lies in memory. Threads share it; each writes values that no other reads or writes meanwhile.
#[derive(Clone, Copy)]
pub struct Panel<T> {
    pub start: *mut T,
    pub stride: usize,
    pub columns: usize,
}

// SAFETY: a pointer may go anywhere; using it is up to `Job`.
unsafe impl<T> Send for Panel<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Panel<T> {}

impl<T: Real> Panel<T> {
    pub fn of(matrix: &mut Matrix<T>) -> Self {
        Self { start: matrix.as_mut_ptr(), stride: matrix.stride(), columns: matrix.columns() }
    }

    pub fn read_only(matrix: &Matrix<T>) -> Self {
        Self { start: matrix.as_ptr().cast_mut(), stride: matrix.stride(), columns: matrix.columns() }
    }

    pub fn strided(&self) -> Strided<T> {
        Strided { start: self.start, stride: self.stride }
    }

    /// A thread's part of the first `rows` rows, with their padding.
    ///
    /// # Safety
    /// The panel must be valid for reading and writing them, by nobody else while the rows are borrowed.
    unsafe fn part(self, part: Part, rows: usize) -> impl Iterator<Item = &'static mut [T]> {
        part.share(rows, 1).map(move |row| {
            // SAFETY: the caller's.
            unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.stride) }
        })
    }

    pub fn input(&self) -> Input<Strided<T>> {
        Input { rows: self.strided(), columns: self.columns, stride: self.stride }
    }
}

/// What a layer reads of the examples: its rows hold `columns` values, and with their padding `stride`.
#[derive(Clone, Copy)]
pub struct Input<R> {
    pub rows: R,
    pub columns: usize,
    pub stride: usize,
}

impl<R> Input<R> {
    /// These rows in equal blocks, whole tiles of them, that stay in the cache while all that they are multiplied by
    /// goes over them.
    fn blocks<T: Real, S: Simd<T>>(
        &self,
        rows: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = Range<usize>> + use<T, S, R> {
        let count = (rows.len() * self.stride * size_of::<T>()).div_ceil(CACHED).max(1);
        let most = rows.len().div_ceil(count).next_multiple_of(S::DOTS.0);
        rows.clone().step_by(most).map(move |start| start..rows.end.min(start + most))
    }
}

/// What threads split among them in a step.
#[derive(Clone, Copy, PartialEq)]
enum Split {
    /// Each layer's units: each thread reads and updates its own rows of the weights, and reads all examples.
    Units,
    /// The examples: each thread reads its own, and all of the weights; of the gradient it makes its own columns.
    Examples,
}

/// A part of a matrix.
struct Piece {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Where all of a network lies.
pub struct Panels<T> {
    pub layers: Vec<[Panel<T>; 2]>,   // weights (n_out, n_in) and biases (1, n_out)
    pub work: Vec<[Panel<T>; 2]>,     // activations and deltas (B, n_out)
    pub gradient: Vec<[Panel<T>; 2]>, // as `layers`, where a mini-batch takes several passes
    pub strips: Vec<Strips<T>>,       // of each thread
}

/// One pass forward and back: gradient * scale is added to the targets.
///
/// # Safety
/// The methods read and write wherever the panels say. All panels must be valid for the shapes that the network's sizes
/// give them, with `rows` rows or more of examples; the targets, the work space and its gradient for writing. Nobody but
/// the threads of the job may touch them meanwhile, and each of them calls `step` with its own part and as many rows.
#[derive(Clone, Copy)]
pub struct Job<'a, T, S> {
    simd: S,
    panels: &'a Panels<T>,
    targets: &'a [[Panel<T>; 2]], // as `panels.layers`
    scale: T,
    far: bool, // the examples come from memory
}

impl<'a, T: Exp, S: Simd<T>> Job<'a, T, S> {
    pub fn new(simd: S, panels: &'a Panels<T>, targets: &'a [[Panel<T>; 2]], scale: T) -> Self {
        Self { simd, panels, targets, scale, far: false }
    }

    /// # Safety
    /// See `Job`; `x` are inputs of the network, and `y` outputs.
    pub unsafe fn step<R: Rows<T>>(&self, part: Part, rows: usize, x: Input<R>, y: R) {
        let job = Self { scale: self.scale / T::of(rows as f64), ..*self };
        let weights: usize = self.targets.iter().map(|[W, b]| b.columns * W.stride * size_of::<T>()).sum();
        let block = (PASSED / (x.stride * size_of::<T>())).next_multiple_of(S::DOTS.0);
        // SAFETY: the caller's; each thread clears and adds its part of the gradient, and meets the others in between.
        unsafe {
            if weights > PASSED || rows < PASSES * block {
                return job.pass(part, rows, x, y);
            }
            let gradient = &self.panels.gradient;
            for [W, b] in gradient {
                W.part(part, b.columns).for_each(|row| row.fill(T::zero()));
                b.part(part, 1).for_each(|row| row.fill(T::zero()));
            }
            part.meet();
            for start in (0..rows).step_by(block) {
                let x = Input { rows: x.rows.cut(start, 0), ..x };
                Job { targets: gradient, far: true, ..job }.pass(part, block.min(rows - start), x, y.cut(start, 0));
                part.meet();
            }
            for ([W, b], [dW, db]) in self.targets.iter().zip(gradient) {
                let add =
                    |(to, from): (&mut [T], &mut [T])| to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                W.part(part, b.columns).zip(dW.part(part, b.columns)).for_each(add);
                b.part(part, 1).zip(db.part(part, 1)).for_each(add);
            }
        }
    }

    /// The examples forward, then back; the gradient is one of `scale` times their cost.
    ///
    /// # Safety
    /// As for `step`.
    unsafe fn pass<R: Rows<T>>(&self, part: Part, rows: usize, x: Input<R>, y: R) {
        let last = self.panels.work.len() - 1;
        let below = |layer: usize| self.panels.work[layer - 1][0].input();
        let split = self.split(rows);

        // SAFETY: the caller's; every thread writes to its own part, and meets the others before it reads theirs.
        unsafe {
            for layer in 0..=last {
                let piece = self.piece(part, split, rows, layer);
                match layer {
                    0 => self.forward(layer, rows, x, part, piece),
                    _ => self.forward(layer, rows, below(layer), part, piece),
                }
                if split == Split::Examples || layer < last {
                    part.meet();
                }
            }
            self.slope(last, rows, Some(y), self.scale, self.units(part, last));
            part.meet();
            for layer in (0..=last).rev() {
                if layer > 0 {
                    self.backward(layer, self.piece(part, split, rows, layer - 1));
                    if split == Split::Examples {
                        part.meet();
                    }
                    self.slope(layer - 1, rows, None::<Strided<T>>, T::one(), self.units(part, layer - 1));
                    part.meet();
                }
                match layer {
                    0 => self.update(layer, rows, x, part, split),
                    _ => self.update(layer, rows, below(layer), part, split),
                }
            }
        }
    }

    fn split(&self, rows: usize) -> Split {
        let widest = self.panels.work.iter().map(|[a, _]| a.columns).max().unwrap_or_default();
        if rows > EXAMPLES_PER_UNIT * widest { Split::Examples } else { Split::Units }
    }

    /// This thread's part of a layer's activations and deltas.
    fn piece(&self, part: Part, split: Split, rows: usize, layer: usize) -> Piece {
        match split {
            Split::Units => Piece { rows: 0..rows, columns: self.units(part, layer) },
            Split::Examples => Piece { rows: part.share(rows, 1), columns: 0..self.panels.work[layer][0].columns },
        }
    }

    /// This thread's units of a layer, whole cache lines of them.
    fn units(&self, part: Part, layer: usize) -> Range<usize> {
        part.share(self.panels.work[layer][0].columns, Matrix::<T>::LANES)
    }

    /// a = sigmoid(input W^T + b), for these examples and units.
    ///
    /// # Safety
    /// See `Job`; between two meetings, the piece is this thread's alone.
    unsafe fn forward<R: Rows<T>>(&self, layer: usize, rows: usize, input: Input<R>, part: Part, piece: Piece) {
        let ([W, b], [a, _]) = (self.panels.layers[layer], self.panels.work[layer]);
        let Piece { rows: examples, columns: units } = piece;
        if examples.is_empty() || units.is_empty() {
            return;
        }
        let vectors = units.len().div_ceil(S::LANES);
        // SAFETY: rows of `input` and W are n_in values and padding, up to a whole number of vectors; those of a hold
        // `units`, which no other thread touches in these rows before the next meeting.
        unsafe {
            let product = Product {
                simd: self.simd,
                inputs: input.columns,
                x: input.rows.cut(examples.start, 0),
                examples: examples.len(),
                W: Strided { start: W.start.add(units.start * W.stride).cast_const(), stride: W.stride },
                units: units.len(),
                z: a.start.add(examples.start * a.stride + units.start),
                z_row: a.stride,
            };
            match Way::of::<T, S>(rows, input.columns, a.columns) {
                Way::Dots { parts: 1 } => {
                    for block in input.blocks::<T, S>(0..examples.len()) {
                        product.dots(block, 1, self.far);
                    }
                }
                Way::Dots { parts } => product.dots(0..examples.len(), parts, self.far),
                Way::Transposed => product.transposed(&self.panels.strips[part.thread()]),
            }
            self.simd.run(Activate {
                rows: examples.len(),
                vectors,
                lanes: units.len() - (vectors - 1) * S::LANES,
                z: a.start.add(examples.start * a.stride + units.start),
                z_row: a.stride,
                bias: b.start.add(units.start),
            });
        }
    }

    /// delta = the next layer's delta W, for these examples and units: not yet times the sigmoid's slope.
    ///
    /// # Safety
    /// See `Job`; between two meetings, the piece is this thread's alone.
    unsafe fn backward(&self, layer: usize, piece: Piece) {
        let [W, _] = self.panels.layers[layer];
        let ([_, above], [_, delta]) = (self.panels.work[layer], self.panels.work[layer - 1]);
        let Piece { rows, columns: units } = piece;
        // SAFETY: rows of W and delta hold `units` in whole vectors, padding included; no other thread writes `above`
        // or W, nor touches this piece of delta, before the next meeting.
        unsafe {
            self.simd.run(Multiply {
                rows: rows.len(),
                vectors: units.len().div_ceil(S::LANES),
                depth: above.columns,
                a: above.start.add(rows.start * above.stride),
                a_row: above.stride,
                a_depth: 1,
                b: W.strided().cut(0, units.start),
                c: delta.start.add(rows.start * delta.stride + units.start),
                c_row: delta.stride,
                accumulate: false,
            });
        }
    }

    /// delta *= a (1 - a), and its sum over the examples goes to the biases; with y, delta is first (a - y) * scale.
    ///
    /// # Safety
    /// See `Job`; between two meetings, `units` are this thread's alone.
    unsafe fn slope<R: Rows<T>>(&self, layer: usize, rows: usize, y: Option<R>, scale: T, units: Range<usize>) {
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
                y: y.map(|y| y.cut(0, units.start)),
                scale,
                sums: b.start.add(units.start),
            });
        }
    }

    /// W += delta^T input, for this thread's part of W; first the inputs that `forward` left in the cache.
    ///
    /// # Safety
    /// See `Job`; between two meetings, that part is this thread's alone.
    unsafe fn update<R: Rows<T>>(&self, layer: usize, rows: usize, input: Input<R>, part: Part, split: Split) {
        let ([W, _], [_, delta]) = (self.targets[layer], self.panels.work[layer]);
        let (units, columns) = match split {
            Split::Units => (self.units(part, layer), 0..input.columns),
            Split::Examples => (0..delta.columns, part.share(input.columns, Matrix::<T>::LANES)),
        };
        // SAFETY: rows of W and input hold `columns` in whole vectors, padding included; no other thread touches this
        // part of W before the next meeting.
        unsafe {
            for block in input.blocks::<T, S>(0..rows).rev() {
                self.simd.run(Multiply {
                    rows: units.len(),
                    vectors: columns.len().div_ceil(S::LANES),
                    depth: block.len(),
                    a: delta.start.add(units.start + block.start * delta.stride),
                    a_row: 1,
                    a_depth: delta.stride,
                    b: input.rows.cut(block.start, columns.start),
                    c: W.start.add(columns.start + units.start * W.stride),
                    c_row: W.stride,
                    accumulate: true,
                });
            }
        }
    }
}
