//! Approvals: other people's signatures under a plan's hash, made with their SSH keys. Pure; `cli` reads and writes
//! the files.
//!
//! ```text
//! plan.json ── hash ──► Key::sign() ──► plan.approvals/PRINCIPAL.sig ─┐
//! [approvals] allowed_signers, required ──► Rules ────────────────────┴─► judge() ──► plan::rails
//! ```
//!
//! What is signed is the plan's hash in hexadecimal, in the format of `ssh-keygen -Y` and the namespace
//! [`NAMESPACE`], so that OpenSSH can make an approval (with a key in an agent or on a token) and check one.

mod judge;
mod key;
mod required;
mod signers;

use jiff::Timestamp;

pub use judge::{Approval, Judged, Rejected, Signature};
pub use key::Key;
pub use required::{Required, Step};
pub use signers::Signers;

use crate::error::{Error, Result};
use crate::model::PlanHash;

/// The namespace of the signatures: one that was made for anything else (git, mail) is no approval.
pub const NAMESPACE: &str = "reinstate-plan";

/// `[approvals]` of the configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The file of the allowed signers, for messages.
    pub file: String,
    /// Whose keys count.
    pub signers: Signers,
    /// How many approvals plans need.
    pub required: Required,
}

impl Rules {
    /// Checks the rules against each other; `text` is that of the allowed-signers file called `file`.
    pub fn new(file: String, text: &str, required: Required) -> Result<Self> {
        let signers = Signers::parse(text, &file)?;
        required.check(signers.people(None)).map_err(|what| {
            Error::usage(format!("unable to use the approvals of the configuration: {what}"))
                .hint("required = [{ from = 11, count = 1 }]: from how many tenants on how many approvals")
        })?;
        Ok(Self { file, signers, required })
    }

    /// Which signatures are approvals of a plan by others than its author.
    pub fn judge(&self, plan: &PlanHash, author: &str, signatures: &[Signature], now: Timestamp) -> Judged {
        judge::judge(&self.signers, plan, author, signatures, now)
    }
}

/// What the rails need to know beside a plan.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// The rules of the configuration, if it has any.
    pub rules: Option<&'a Rules>,
    /// The signatures beside the plan.
    pub signatures: Vec<Signature>,
    /// When keys must be valid.
    pub now: Timestamp,
}
