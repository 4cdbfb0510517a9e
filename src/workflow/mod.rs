//! Whole sites: a tenant's rows in several shards, its media, what other systems must do and say, the gate, the
//! sign-off. What is done is kept in the catalogue's shard, so that anybody can go on from anywhere.
//!
//! ```text
//! reinstate.toml ─► Workflow (bound into the plan) ─► Graph ─► the steps of each site
//! journals + events ─► Site (a pure fold) ─► conduct(): rings, sites, the steps that are left ─► Outcome
//! ```

mod conduct;
pub mod control;
pub mod declared;
pub mod diary;
mod eta;
pub mod event;
pub mod forecast;
pub mod graph;
pub mod site;
pub mod standing;
mod steps;

pub use conduct::conduct;
pub use declared::Workflow;
pub use diary::Diary;
pub use event::{Event, What};
pub use graph::{Graph, Step, Work};
pub use site::{Site, State, StepState};
pub use standing::{Standing, standing};
