//! The kernels on every instruction set of this processor: right, and never outside their arrays, which lie between
//! pages that may not be touched.

use super::elements::{Activate, Exp, Slope};
use super::forward::{Transpose, Way};
use super::products::{Dots, Multiply, Strided};
use super::simd::{Portable, Simd};
use super::team::Team;
use super::{Fusable, instruction_sets};
use crate::batched::gradients;
use crate::blas::Products;
use crate::matrix::Matrix;
use crate::network::{Network, Parameters, Real, sigmoid};
use ndarray::{Array1, Array2, Axis};
use std::sync::Mutex;

/// Values that end, or begin, where an inaccessible page begins, or ends.
struct Guarded<T> {
    mapping: *mut libc::c_void,
    bytes: usize, // of the mapping
    start: *mut T,
    length: usize,
}

const PAGE: usize = 1 << 16; // a multiple of all usual page sizes

impl<T: Real> Guarded<T> {
    fn new(values: &[T], at_end: bool) -> Self {
        let room = size_of_val(values).next_multiple_of(PAGE);
        let bytes = room + 2 * PAGE;
        // SAFETY: a fresh mapping, whose middle becomes accessible, takes the values.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
            let mapping = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED);
            let middle = mapping.byte_add(PAGE);
            assert_eq!(libc::mprotect(middle, room, libc::PROT_READ | libc::PROT_WRITE), 0);
            let start = middle.byte_add(if at_end { room - size_of_val(values) } else { 0 }).cast::<T>();
            start.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self { mapping, bytes, start, length: values.len() }
        }
    }

    fn values(&self) -> Vec<T> {
        // SAFETY: `new` filled them.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }.to_vec()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it, and pointers to it do not outlive `self`.
        unsafe { libc::munmap(self.mapping, self.bytes) };
    }
}

/// Numbers between -1 and 1 that do not repeat soon.
fn numbers<T: Real>(count: usize, seed: usize) -> Vec<T> {
    (0..count).map(|i| T::of(((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0)).collect()
}

fn assert_close<T: Real>(found: &[T], expected: &[f64], what: &str) {
    let tolerance = if size_of::<T>() == 8 { 1e-13 } else { 1e-5 };
    assert_eq!(found.len(), expected.len());
    for (i, (&mine, &right)) in found.iter().zip(expected).enumerate() {
        let mine = mine.to_f64().expect("a float");
        assert!((mine - right).abs() <= tolerance * (1.0 + right.abs()), "{what}, value {i}: {mine}, not {right}");
    }
}

fn f64_of<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64().expect("a float")).collect()
}

fn strided<T: Real>(values: &Guarded<T>, stride: usize) -> Strided<T> {
    Strided { start: values.start, stride }
}

/// Every product over `rows` x `columns` x `depth`, with all arrays at both ends of their pages.
fn products<T: Real, S: Simd<T>>(simd: S, rows: usize, vectors: usize, depth: usize) {
    let columns = vectors * S::LANES;
    for at_end in [false, true] {
        for (transposed, accumulate) in [(false, false), (true, true)] {
            let (a, b) = (numbers::<T>(rows * depth, 1), numbers::<T>(depth * columns, 2));
            let c = numbers::<T>(rows * columns, 3);
            let (a_row, a_depth) = if transposed { (1, rows) } else { (depth, 1) };
            let mut expected = f64_of(&c);
            let (a64, b64) = (f64_of(&a), f64_of(&b));
            for i in 0..rows {
                for j in 0..columns {
                    let sum: f64 = (0..depth).map(|k| a64[i * a_row + k * a_depth] * b64[k * columns + j]).sum();
                    expected[i * columns + j] = sum + if accumulate { expected[i * columns + j] } else { 0.0 };
                }
            }
            let (a, b, c) = (Guarded::new(&a, at_end), Guarded::new(&b, at_end), Guarded::new(&c, at_end));
            let kernel = Multiply {
                rows,
                vectors,
                depth,
                a: a.start,
                a_row,
                a_depth,
                b: strided(&b, columns),
                c: c.start,
                c_row: columns,
                accumulate,
            };
            // SAFETY: the arrays have these shapes.
            unsafe { simd.run(kernel) };
            assert_close(&c.values(), &expected, &format!("multiply {rows} x {columns} x {depth}"));
        }

        let (a, b) = (numbers::<T>(rows * columns, 4), numbers::<T>(depth * columns, 5));
        let (a64, b64) = (f64_of(&a), f64_of(&b));
        let dot = |i: usize, j: usize| (0..columns).map(|k| a64[i * columns + k] * b64[j * columns + k]).sum();
        let expected: Vec<f64> = (0..rows * depth).map(|at| dot(at / depth, at % depth)).collect();
        let (a, b) = (Guarded::new(&a, at_end), Guarded::new(&b, at_end));
        let c = Guarded::new(&numbers::<T>(rows * depth, 6), at_end);
        let kernel = Dots {
            rows,
            columns: depth,
            vectors,
            a: strided(&a, columns),
            b: b.start,
            b_row: columns,
            c: c.start,
            c_row: depth,
        };
        // SAFETY: the arrays have these shapes.
        unsafe { simd.run(kernel) };
        assert_close(&c.values(), &expected, &format!("dots {rows} x {depth} x {columns}"));
    }
}

/// The transpose of `rows` x `columns` values, with both matrices at both ends of their pages.
fn transpose<T: Real, S: Simd<T>>(simd: S, rows: usize, columns: usize) {
    let (from_row, to_row) = (columns.next_multiple_of(S::LANES), rows.next_multiple_of(S::LANES));
    for at_end in [false, true] {
        let a = numbers::<T>(rows * from_row, 1);
        let (from, to) = (Guarded::new(&a, at_end), Guarded::new(&vec![T::zero(); columns * to_row], at_end));
        let kernel = Transpose { rows, columns, from: strided(&from, from_row), to: to.start, to_row };
        // SAFETY: the arrays have these shapes.
        unsafe { simd.run(kernel) };
        let expected: Vec<T> =
            (0..columns * to_row).map(|at| a[(at % to_row).min(rows - 1) * from_row + at / to_row]).collect();
        assert_eq!(to.values(), expected, "the transpose of {rows} x {columns}");
    }
}

/// The element-wise passes over `rows` x `vectors`, of which the last vector holds `lanes` values.
fn elements<T: Exp, S: Simd<T>>(simd: S, rows: usize, vectors: usize, lanes: usize) {
    let columns = vectors * S::LANES;
    let used = columns - S::LANES + lanes;
    for at_end in [false, true] {
        let (z, bias) = (numbers::<T>(rows * columns, 1), numbers::<T>(columns, 2));
        let expected: Vec<f64> = (0..rows * columns)
            .map(|at| if at % columns < used { sigmoid((z[at] + bias[at % columns]).to_f64().unwrap()) } else { 0.0 })
            .collect();
        let (a, bias) = (Guarded::new(&z, at_end), Guarded::new(&bias, at_end));
        let kernel = Activate { rows, vectors, lanes, z: a.start, z_row: columns, bias: bias.start };
        // SAFETY: the arrays have these shapes.
        unsafe { simd.run(kernel) };
        assert_close(&a.values(), &expected, "activate");

        for output in [false, true] {
            let (delta, y) = (numbers::<T>(rows * columns, 3), numbers::<T>(rows * columns, 4));
            let (a64, d64, y64) = (f64_of(&a.values()), f64_of(&delta), f64_of(&y));
            let expected: Vec<f64> = (0..rows * columns)
                .map(|i| (if output { (a64[i] - y64[i]) * 0.5 } else { d64[i] }) * a64[i] * (1.0 - a64[i]))
                .collect();
            let sums: Vec<f64> = (0..columns).map(|j| expected.iter().skip(j).step_by(columns).sum()).collect();
            let (delta, y) = (Guarded::new(&delta, at_end), Guarded::new(&y, at_end));
            let total = Guarded::new(&vec![T::zero(); columns], at_end);
            let kernel = Slope {
                rows,
                vectors,
                delta: delta.start,
                a: a.start,
                row: columns,
                y: output.then_some(strided(&y, columns)),
                scale: T::of(0.5),
                sums: total.start,
            };
            // SAFETY: the arrays have these shapes.
            unsafe { simd.run(kernel) };
            assert_close(&delta.values(), &expected, "slope");
            assert_close(&total.values(), &sums, "sums");
        }
    }
}

/// The largest error of the sigmoid in units of the last place, from one end of its range to the other.
fn worst_sigmoid<T: Exp, S: Simd<T>>(simd: S, epsilon: f64) -> f64 {
    let limit = T::EXP_LIMIT.to_f64().unwrap() - 1.0;
    let mut worst = 0.0f64;
    for block in 0..20_000 {
        let z: Vec<T> = (0..S::LANES)
            .map(|i| T::of(limit * ((block * S::LANES + i) as f64 / (10_000 * S::LANES) as f64 - 1.0)))
            .collect();
        let (mut a, bias) = (z.clone(), vec![T::zero(); S::LANES]);
        let kernel =
            Activate { rows: 1, vectors: 1, lanes: S::LANES, z: a.as_mut_ptr(), z_row: 0, bias: bias.as_ptr() };
        // SAFETY: both hold one vector.
        unsafe { simd.run(kernel) };
        for (z, a) in z.iter().zip(&a) {
            let right: f64 = 1.0 / (1.0 + (-z.to_f64().unwrap()).exp());
            worst = worst.max((a.to_f64().unwrap() - right).abs() / right / epsilon);
        }
    }
    worst
}

fn special<T: Exp, S: Simd<T>>(simd: S) {
    for (z, right) in [(T::nan(), None), (-T::nan(), None), (T::infinity(), Some(1.0)), (T::neg_infinity(), Some(0.0))]
    {
        let (mut a, bias) = (vec![z; S::LANES], vec![T::zero(); S::LANES]);
        let kernel =
            Activate { rows: 1, vectors: 1, lanes: S::LANES, z: a.as_mut_ptr(), z_row: 0, bias: bias.as_ptr() };
        // SAFETY: both hold one vector.
        unsafe { simd.run(kernel) };
        for a in a {
            match right {
                Some(right) => assert!((a.to_f64().unwrap() - right).abs() < 1e-37, "{z} gave {a}"),
                None => assert!(a.is_nan(), "{z} gave {a}"),
            }
        }
    }
}

fn all<S: Simd<f64> + Simd<f32>>(simd: S) {
    for rows in [1, 2, 3, 4, 5, 6, 7, 11, 13] {
        for vectors in [1, 2, 3, 4, 5, 9] {
            for depth in [1, 2, 3, 4, 5, 7, 10] {
                products::<f64, S>(simd, rows, vectors, depth);
                products::<f32, S>(simd, rows, vectors, depth);
            }
        }
    }
    for rows in [1, 2, 3, 7, 8, 15, 16, 17, 33] {
        for columns in [1, 2, 5, 8, 16, 19] {
            transpose::<f64, S>(simd, rows, columns);
            transpose::<f32, S>(simd, rows, columns);
        }
    }
    for (rows, vectors) in [(1, 1), (3, 2), (7, 5)] {
        for lanes in 1..=<S as Simd<f64>>::LANES {
            elements::<f64, S>(simd, rows, vectors, lanes);
        }
        for lanes in 1..=<S as Simd<f32>>::LANES {
            elements::<f32, S>(simd, rows, vectors, lanes);
        }
    }
    special::<f64, S>(simd);
    special::<f32, S>(simd);
    let worst = (worst_sigmoid::<f64, S>(simd, f64::EPSILON), worst_sigmoid::<f32, S>(simd, f32::EPSILON.into()));
    assert!(worst.0 <= 3.0 && worst.1 <= 3.0, "sigmoid is off by {worst:?} units in the last place");
}

#[test]
fn portable_kernels() {
    all(Portable);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx2_kernels() {
    match super::simd::x86::Avx2::detect() {
        Some(simd) => all(simd),
        None => eprintln!("skipped: this processor has no AVX2"),
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_kernels() {
    match super::simd::x86::Avx512::detect() {
        Some(simd) => all(simd),
        None => eprintln!("skipped: this processor has no AVX-512"),
    }
}

#[cfg(target_arch = "aarch64")]
#[test]
fn neon_kernels() {
    all(super::simd::arm::Neon);
}

/// A network of 5, 4 and 3 units is given more than its memory holds, and must not use it.
fn network() -> Box<dyn Network<f64>> {
    f64::network(None, &[5, 4, 3], 2, 1).expect("there is always one")
}

#[test]
#[should_panic(expected = "inputs and outputs")]
fn examples_of_another_network_panic() {
    network().step(&Matrix::zeros(2, 500), &Matrix::zeros(2, 3), 0.1);
}

#[test]
#[should_panic(expected = "examples")]
fn fewer_outputs_than_inputs_panic() {
    network().gradients(&Matrix::zeros(2, 5), &Matrix::zeros(1, 3));
}

#[test]
#[should_panic(expected = "the work space holds 2")]
fn more_examples_than_there_is_room_for_panic() {
    network().step(&Matrix::zeros(3, 5), &Matrix::zeros(3, 3), 0.1);
}

#[test]
#[should_panic(expected = "the order")]
fn an_order_outside_the_examples_panics() {
    network().epoch(&Matrix::zeros(3, 5), &Matrix::zeros(3, 3), &[0, 3], 2, 0.1);
}

/// Parameters, inputs and outputs of a network, between -1 and 1.
fn problem<T: Real>(sizes: &[usize], examples: usize) -> (Parameters<T>, Matrix<T>, Matrix<T>) {
    let matrix = |rows, columns, seed| Array2::from_shape_vec((rows, columns), numbers(rows * columns, seed)).unwrap();
    let stored = |values: &Array2<T>| {
        let mut matrix = Matrix::zeros(values.nrows(), values.ncols());
        matrix.assign(values.view());
        matrix
    };
    let parameters = Parameters {
        weights: sizes.windows(2).map(|n| matrix(n[1], n[0], n[0])).collect(),
        biases: sizes[1..].iter().map(|&n| Array1::from_vec(numbers(n, 9))).collect(),
    };
    let outputs = sizes[sizes.len() - 1];
    (parameters, stored(&matrix(examples, sizes[0], 7)), stored(&matrix(examples, outputs, 8)))
}

/// The rows of a matrix in another order.
fn chosen<T: Real>(matrix: &Matrix<T>, order: &[usize]) -> Matrix<T> {
    let mut rows = Matrix::zeros(order.len(), matrix.columns());
    rows.assign(matrix.view().select(Axis(0), order).view());
    rows
}

/// However many threads there are, whatever they split, and wherever the rows are: the same bits.
fn epochs<T: Fusable>(sizes: &[usize], batch_size: usize) {
    let (parameters, x, y) = problem::<T>(sizes, 3 * batch_size);
    let order: Vec<usize> = (0..2 * batch_size + batch_size / 2).map(|i| (i * 7 + 3) % x.rows()).collect();
    let rate = T::of(0.5);
    let trained = |threads: usize, steps: bool| {
        let mut network = T::network(None, sizes, batch_size, threads).expect("there is always one");
        network.load(parameters.clone());
        network.share_from(0);
        if steps {
            for indices in order.chunks(batch_size) {
                network.step(&chosen(&x, indices), &chosen(&y, indices), rate);
            }
        } else {
            network.epoch(&x, &y, &order, batch_size, rate);
        }
        let Parameters { weights, biases } = network.parameters();
        (weights, biases)
    };
    let expected = trained(1, true);
    for threads in 1..=4 {
        assert!(trained(threads, true) == expected, "steps of {threads} threads on {sizes:?}");
        assert!(trained(threads, false) == expected, "an epoch of {threads} threads on {sizes:?}");
    }
}

#[test]
fn threads_change_no_bit() {
    for (sizes, batch_size) in [(&[50, 30, 10][..], 10), (&[50, 30, 10], 128), (&[33, 70, 9, 4], 37), (&[3, 2], 9)]
        .into_iter()
        .chain(EVERY_WAY)
    {
        epochs::<f64>(sizes, batch_size);
        epochs::<f32>(sizes, batch_size);
    }
}

/// Networks and mini-batches whose products go each of their ways.
const EVERY_WAY: [(&[usize], usize); 5] = [
    (&[50, 70, 10], 70),    // the examples transposed
    (&[2000, 30, 10], 77),  // rows in several parts
    (&[1000, 63, 10], 77),  // in parts, for more units than a group has
    (&[784, 30, 10], 400),  // in several blocks
    (&[20_000, 3, 2], 130), // in several passes
];

#[test]
fn each_way_is_taken() {
    fn ways<S: Simd<f64> + Simd<f32>>(_: S) {
        for (inputs, units, examples, way) in
            [(784, 30, 3, Way::Dots { parts: 1 }), (50, 70, 70, Way::Transposed), (70, 10, 70, Way::Dots { parts: 1 })]
        {
            assert_eq!(Way::of::<f64, S>(examples, inputs, units), way);
            assert_eq!(Way::of::<f32, S>(examples, inputs, units), way);
        }
    }
    ways(Portable);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = super::simd::x86::Avx512::detect() {
        ways(simd);
        let parts = |inputs| Way::of::<f64, super::simd::x86::Avx512>(77, inputs, 30);
        assert_eq!([400, 784, 2000].map(parts), [1, 3, 8].map(|parts| Way::Dots { parts }));
    }
}

/// The gradient is that of plain products, which `batched` takes in float64.
fn right_gradient<T: Fusable>(sizes: &[usize], examples: usize, tolerance: f64) {
    let (parameters, x, y) = problem::<f64>(sizes, examples);
    let scale = 1.0 / (sizes[0] as f64).sqrt(); // so that few units saturate
    let parameters = Parameters { weights: parameters.weights.iter().map(|W| W * scale).collect(), ..parameters };
    let right = gradients(&parameters, &Products::Ndarray, x.view(), y.view(), 1.0 / examples as f64);
    let cast = |matrix: &Matrix<f64>| Matrix::from_view(matrix.view().mapv(T::of).view());
    for simd in instruction_sets() {
        let mut network = T::network(Some(simd), sizes, examples, 1).expect("it is among them");
        network.load(Parameters {
            weights: parameters.weights.iter().map(|W| W.mapv(T::of)).collect(),
            biases: parameters.biases.iter().map(|b| b.mapv(T::of)).collect(),
        });
        let found = network.gradients(&cast(&x), &cast(&y));
        let values = |gradient: &Parameters<T>| -> Vec<f64> {
            let weights = gradient.weights.iter().flatten();
            weights.chain(gradient.biases.iter().flatten()).map(|value| value.to_f64().expect("a float")).collect()
        };
        let right: Vec<f64> = right.weights.iter().flatten().chain(right.biases.iter().flatten()).copied().collect();
        let largest = right.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for (found, right) in values(&found).iter().zip(&right) {
            assert!((found - right).abs() <= tolerance * largest, "{simd}, {sizes:?}: {found}, not {right}");
        }
    }
}

#[test]
fn every_way_gives_the_right_gradient() {
    for (sizes, examples) in EVERY_WAY {
        right_gradient::<f64>(sizes, examples, 1e-12);
        right_gradient::<f32>(sizes, examples, 1e-4);
    }
}

#[test]
fn shares_cover_everything_once() {
    for threads in 1..=8 {
        for (total, unit) in [(1, 1), (7, 1), (30, 8), (100, 16), (3, 8)] {
            let ranges = Mutex::new(Vec::new());
            Team::new(threads).run(&|part| ranges.lock().unwrap().push(part.share(total, unit)));
            let mut ranges = ranges.into_inner().unwrap();
            ranges.sort_by_key(|range| (range.start, range.end));
            assert_eq!(ranges.len(), threads);
            assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..total).collect::<Vec<_>>());
        }
    }
}

#[test]
fn threads_meet_before_any_goes_on() {
    let mut team = Team::new(4);
    let log = Mutex::new(Vec::new());
    for turn in 0..1000 {
        team.run(&|part| {
            for phase in 0..3 {
                log.lock().unwrap().push(3 * turn + phase);
                part.meet();
            }
        });
    }
    let log = log.into_inner().unwrap();
    assert!(log.is_sorted() && log.len() == 12_000);
}
