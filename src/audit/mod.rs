//! The audit log: who did what, when, by which plan, past which rails, and what became of it. Append-only, one JSON
//! object a line, each with the hash of the line before: none can be changed, removed, inserted or moved unnoticed.
//!
//! ```text
//! Event ─► append() ─► lock ─► Chain ─► Entry ─► seal() ─► one line more, fsync
//!                               │
//!             read() ─► Line ───┴─► or the first line that is wrong, and why
//! ```
//!
//! A chain without its last lines is still one, and whoever may write the file can write all of it anew. Both show to
//! who has kept the hash of a last line elsewhere ([`Chain::head`]).

mod chain;
mod entry;
mod fault;
mod log;

pub use chain::{Chain, Line};
pub use entry::{AUDIT_FORMAT, Entry, Event, Facts, Phase, Who};
pub use fault::{Fault, Wrong};
pub use log::{Appended, append, read};
