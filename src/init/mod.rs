//! From a live schema to a reviewed `reinstate.toml`.
//!
//! ```text
//! tables of every shard ──► infer (pure) ──► Inference: rule, evidence, doubt ──► render ──► reinstate.toml
//! ```
//!
//! Nothing here connects or writes files. What cannot be decided is left without a rule and named: a plan stops
//! until a person has written one.

mod infer;
mod render;

pub use infer::{Inferred, RootSpec, ShardInference, infer};
pub use render::render;
