//! The network as the examples of the crate `tensorflow` write it: a graph of operations and variables, whose gradients
//! TensorFlow adds to the graph itself, and a session that runs parts of it.

use tensorflow::ops::{self, ApplyGradientDescent, MatMul, NoOp, Placeholder};
use tensorflow::train::{ComputeGradientsOptions, GradientDescentOptimizer, Optimizer};
use tensorflow::{
    DataType, Operation, Output, Result, Scope, Session, SessionOptions, SessionRunArgs, Tensor, TensorType, Variable,
};

/// float64 or float32.
pub trait Real: TensorType<InnerType: Send + Sync> + Copy {
    fn of(value: f64) -> Self;
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
}

pub struct Network {
    session: Session,
    parameters: Vec<Variable>, // the weights (n_out, n_in) of all layers, then the biases (n_out,)
    new: Vec<(Operation, Operation)>, // of each parameter: what is fed with new values, and what assigns them
    x: Operation,
    y: Operation,
    rate: Operation,
    indices: Operation,
    step: Descent,
    step_of_indices: Descent,
}

/// Operations of the graph that compute gradients, and that update the parameters.
struct Descent {
    gradients: Vec<Output>,
    update: Operation,
}

impl Network {
    pub fn new<T: Real>(sizes: &[u64], threads: u8) -> Result<Self> {
        let scope = &mut Scope::new_root_scope();
        let mut placeholder = |dtype| Placeholder::new().dtype(dtype).build(scope);
        let (x, y, rate) = (placeholder(T::data_type())?, placeholder(T::data_type())?, placeholder(T::data_type())?);
        let indices = placeholder(DataType::Int64)?;
        let shapes = sizes.windows(2).map(|n| vec![n[1], n[0]]).chain(sizes[1..].iter().map(|&n| vec![n]));
        let (mut parameters, mut new) = (Vec::new(), Vec::new());
        for shape in shapes {
            let variable = Variable::builder().const_initial_value(Tensor::<T>::new(&shape)).build(scope)?;
            let values = Placeholder::new().dtype(T::data_type()).build(scope)?;
            new.push((values.clone(), ops::assign(variable.output().clone(), values, scope)?));
            parameters.push(variable);
        }
        let step = Descent::new::<T>(x.clone(), y.clone(), &rate, &parameters, scope)?;
        let axis = ops::constant(0i32, scope)?;
        let x_of_indices = ops::gather_v2(x.clone(), indices.clone(), axis.clone(), scope)?;
        let y_of_indices = ops::gather_v2(y.clone(), indices.clone(), axis, scope)?;
        let step_of_indices = Descent::new::<T>(x_of_indices, y_of_indices, &rate, &parameters, scope)?;
        let mut options = SessionOptions::new();
        options.set_config(&config(threads))?;
        let session = Session::new(&options, &scope.graph())?;
        let mut run = SessionRunArgs::new();
        parameters.iter().for_each(|variable| run.add_target(variable.initializer()));
        session.run(&mut run)?;
        Ok(Self { session, parameters, new, x, y, rate, indices, step, step_of_indices })
    }

    /// Copy in weights and biases.
    pub fn load<T: Real>(&mut self, parameters: &[Tensor<T>]) -> Result<()> {
        let mut run = SessionRunArgs::new();
        for ((values, assign), new) in self.new.iter().zip(parameters) {
            run.add_feed(values, 0, new);
            run.add_target(assign);
        }
        self.session.run(&mut run)
    }

    /// The weights, then the biases.
    pub fn parameters<T: Real>(&self) -> Result<Vec<Tensor<T>>> {
        let outputs: Vec<_> = self.parameters.iter().map(|variable| variable.output().clone()).collect();
        self.fetch(SessionRunArgs::new(), &outputs)
    }

    /// The gradient of the cost with respect to the weights, then the biases.
    pub fn gradients<T: Real>(&mut self, x: &Tensor<T>, y: &Tensor<T>) -> Result<Vec<Tensor<T>>> {
        let mut run = SessionRunArgs::new();
        run.add_feed(&self.x, 0, x);
        run.add_feed(&self.y, 0, y);
        self.fetch(run, &self.step.gradients)
    }

    /// One step of gradient descent.
    pub fn step<T: Real>(&mut self, x: &Tensor<T>, y: &Tensor<T>, learning_rate: T) -> Result<()> {
        let rate = Tensor::from(learning_rate);
        let mut run = SessionRunArgs::new();
        run.add_feed(&self.x, 0, x);
        run.add_feed(&self.y, 0, y);
        run.add_feed(&self.rate, 0, &rate);
        run.add_target(&self.step.update);
        self.session.run(&mut run)
    }

    /// Steps through the examples in `order`, `batch_size` at a time, the last mini-batch as large as what is left.
    pub fn epoch<T: Real>(
        &mut self,
        x: &Tensor<T>,
        y: &Tensor<T>,
        order: &[i64],
        batch_size: usize,
        learning_rate: T,
    ) -> Result<()> {
        let rate = Tensor::from(learning_rate);
        for indices in order.chunks(batch_size) {
            let indices = Tensor::from(indices);
            let mut run = SessionRunArgs::new();
            run.add_feed(&self.x, 0, x);
            run.add_feed(&self.y, 0, y);
            run.add_feed(&self.indices, 0, &indices);
            run.add_feed(&self.rate, 0, &rate);
            run.add_target(&self.step_of_indices.update);
            self.session.run(&mut run)?;
        }
        Ok(())
    }

    fn fetch<'a, T: Real>(&'a self, mut run: SessionRunArgs<'a>, outputs: &[Output]) -> Result<Vec<Tensor<T>>> {
        let tokens: Vec<_> = outputs.iter().map(|output| run.request_fetch(&output.operation, output.index)).collect();
        self.session.run(&mut run)?;
        tokens.into_iter().map(|token| run.fetch(token)).collect()
    }
}

impl Descent {
    /// Add to the graph a step of the examples `x` (B, n_0) and `y` (B, n_L).
    fn new<T: Real>(
        x: impl Into<Output>,
        y: impl Into<Output>,
        rate: &Operation,
        parameters: &[Variable],
        scope: &mut Scope,
    ) -> Result<Self> {
        let (weights, biases) = parameters.split_at(parameters.len() / 2);
        let mut a: Output = x.into();
        for (W, b) in weights.iter().zip(biases) {
            let product = MatMul::new().transpose_b(true).build(a, W.output().clone(), scope)?;
            a = ops::sigmoid(ops::add(product, b.output().clone(), scope)?, scope)?.into(); // (B, n_out)
        }
        let squares = ops::squared_difference(a, y, scope)?;
        let (units, examples) = (ops::constant(1i32, scope)?, ops::constant(0i32, scope)?);
        let sum = ops::sum(squares, units, scope)?; // (B,)
        let mean = ops::mean(sum, examples, scope)?;
        let half = ops::constant(T::of(0.5), scope)?;
        let cost = ops::mul(mean, half, scope)?; // 1/(2B) * sum of |a - y|^2
        let optimiser = GradientDescentOptimizer::new(rate.clone());
        let options = ComputeGradientsOptions::default().with_variables(parameters);
        let gradients: Vec<_> = optimiser
            .compute_gradients(scope, cost.into(), options)?
            .into_iter()
            .map(|(gradient, _)| gradient.expect("the cost depends on every parameter"))
            .collect();
        // The optimiser's own update of one layer would not wait for the gradients that need its weights of before.
        let mut computed = NoOp::new();
        for gradient in &gradients {
            computed = computed.add_control_input(gradient.operation.clone());
        }
        let computed = computed.build(scope)?;
        let mut update = NoOp::new();
        for (variable, gradient) in parameters.iter().zip(&gradients) {
            let apply = ApplyGradientDescent::new().add_control_input(computed.clone());
            update = update.add_control_input(apply.build(
                variable.output().clone(),
                rate.clone(),
                gradient.clone(),
                scope,
            )?);
        }
        Ok(Self { gradients, update: update.build(scope)? })
    }
}

/// A session's options as TensorFlow's ConfigProto in protocol buffers: threads for each operation, one operation after
/// the other in the calling thread, which no small step has to wake another one for, and no GPU.
fn config(threads: u8) -> Vec<u8> {
    let no_gpu = [0x0a, 7, 0x0a, 3, b'G', b'P', b'U', 0x10, 0]; // device_count = {"GPU": 0}
    let within = [0x10, threads.min(127)]; // intra_op_parallelism_threads, in one byte
    let between = [0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]; // inter_op_parallelism_threads = -1
    [&no_gpu[..], &within, &between].concat()
}
