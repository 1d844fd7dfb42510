//! The network as the examples of tch, the Rust bindings of libtorch, write it: `nn::linear` layers in an `nn::seq`,
//! autograd, and an optimiser that makes a step of a cost.

use tch::nn::{self, Module, OptimizerConfig};
use tch::{Device, Kind, Reduction, TchError, Tensor};

pub struct Network {
    store: nn::VarStore,
    model: nn::Sequential,
    optimiser: nn::Optimizer,
}

impl Network {
    pub fn new(sizes: &[i64], kind: Kind) -> Result<Self, TchError> {
        let mut store = nn::VarStore::new(Device::Cpu);
        let mut model = nn::seq();
        for (layer, n) in sizes.windows(2).enumerate() {
            let linear = nn::linear(store.root() / layer, n[0], n[1], Default::default());
            model = model.add(linear).add_fn(|z| z.sigmoid());
        }
        store.set_kind(kind);
        let optimiser = nn::Sgd::default().build(&store, 0.0)?;
        Ok(Self { store, model, optimiser })
    }

    /// The weights (n_out, n_in) and the biases (n_out,) of all layers, which share their values with the network's.
    pub fn parameters(&self) -> (Vec<Tensor>, Vec<Tensor>) {
        let variables = self.store.variables();
        let of = |layer, name| variables[&format!("{layer}.{name}")].shallow_clone();
        (0..variables.len() / 2).map(|layer| (of(layer, "weight"), of(layer, "bias"))).unzip()
    }

    /// The gradient of the cost with respect to the weights and to the biases.
    pub fn gradients(&mut self, x: &Tensor, y: &Tensor) -> (Vec<Tensor>, Vec<Tensor>) {
        self.optimiser.zero_grad();
        self.cost(x, y).backward();
        let (weights, biases) = self.parameters();
        (weights.iter().map(Tensor::grad).collect(), biases.iter().map(Tensor::grad).collect())
    }

    /// One step of gradient descent.
    pub fn step(&mut self, x: &Tensor, y: &Tensor, learning_rate: f64) {
        self.optimiser.set_lr(learning_rate);
        self.optimiser.backward_step(&self.cost(x, y));
    }

    /// Steps through the examples in `order`, `batch_size` at a time, the last mini-batch as large as what is left.
    pub fn epoch(&mut self, x: &Tensor, y: &Tensor, order: &[i64], batch_size: usize, learning_rate: f64) {
        for indices in order.chunks(batch_size) {
            let indices = Tensor::from_slice(indices);
            self.step(&x.index_select(0, &indices), &y.index_select(0, &indices), learning_rate);
        }
    }

    /// The cost of the examples `x` (B, n_0) and `y` (B, n_L): 1/(2B) * sum of |a - y|^2.
    fn cost(&self, x: &Tensor, y: &Tensor) -> Tensor {
        self.model.forward(x).mse_loss(y, Reduction::Sum) / (2 * x.size()[0])
    }
}
