//! The Rust rows of backprop-bench: backpropagation through the sigmoid network of Nielsen's book, five ways.
//!
//! `per_example` and `batched` are the code of the post, as it was and as it became; `split` spreads the latter over
//! rayon; `candle` is a framework's; `fused` is how fast it can be. `network` and `matrix` are what they share, `blas`
//! who multiplies their matrices, and `python` the extension module.

#![allow(non_snake_case)] // W and dW are the maths' names

pub mod batched;
pub mod blas;
#[cfg(feature = "candle")]
pub mod candle;
pub mod fused;
pub mod matrix;
pub mod network;
pub mod per_example;
pub mod split;

#[cfg(feature = "python")]
mod python;
