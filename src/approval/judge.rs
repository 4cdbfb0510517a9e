//! Which signatures are approvals: by people other than the author, each once, with keys of their own, of this plan.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, PublicKey, SshSig};

use super::signers::is_verifiable;
use super::{NAMESPACE, Signers};
use crate::model::PlanHash;

/// A file beside a plan: who is said to have signed, and what they gave.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Who, by the name of the file.
    pub principal: String,
    /// The armoured signature.
    pub text: String,
}

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who approved.
    pub principal: String,
    /// SHA-256 fingerprint of the key.
    pub key: String,
}

/// A signature that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Who is said to have signed.
    pub principal: String,
    /// Why it does not count; follows the name in a sentence.
    pub why: String,
}

/// All signatures beside a plan.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Those that count.
    pub approvals: Vec<Approval>,
    /// The others.
    pub rejected: Vec<Rejected>,
}

pub(super) fn judge(
    signers: &Signers,
    plan: &PlanHash,
    author: &str,
    signatures: &[Signature],
    now: Timestamp,
) -> Judged {
    let mut judged = Judged::default();
    for signature in signatures {
        let principal = signature.principal.clone();
        let key = check(signers, plan, author, signature, now).and_then(|key| {
            // Two names with one key are one person.
            let twin = judged.approvals.iter().find(|approval| approval.key == key);
            twin.map_or(Ok(key.clone()), |twin| {
                Err(format!("signed with the key of '{}', whose approval counts already", twin.principal))
            })
        });
        match key {
            Ok(key) => judged.approvals.push(Approval { principal, key }),
            Err(why) => judged.rejected.push(Rejected { principal, why }),
        }
    }
    judged
}

/// The fingerprint of the key, or why the signature does not count.
fn check(
    signers: &Signers,
    plan: &PlanHash,
    author: &str,
    signature: &Signature,
    now: Timestamp,
) -> Result<String, String> {
    let principal = signature.principal.as_str();
    let made = SshSig::from_pem(&signature.text).map_err(|_| "gave no OpenSSH signature")?;
    if made.namespace() != NAMESPACE {
        let other = made.namespace().escape_debug();
        return Err(format!("signed for namespace '{other}', not for '{NAMESPACE}'"));
    }
    if principal == author {
        return Err("is the author of the plan".into());
    }
    let key = PublicKey::from(made.public_key().clone());
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let owners = signers.owners(made.public_key());
    if owners.is_empty() {
        return Err(format!("signed with the unknown key {fingerprint}"));
    }
    if owners.contains(author) {
        return Err("signed with a key of the plan's author".into());
    }
    if !owners.contains(principal) {
        let owners: Vec<String> = owners.iter().map(|owner| format!("'{owner}'")).collect();
        return Err(format!("signed with the key of {}", owners.join(" and ")));
    }
    if !is_verifiable(made.public_key()) {
        let kind = key.algorithm();
        return Err(format!("signed with a key of type {kind}, only ed25519 keys can be checked"));
    }
    key.verify(NAMESPACE, plan.as_str().as_bytes(), &made)
        .map_err(|_| "signed something else than this plan, or the signature was changed")?;
    signers.check(principal, made.public_key(), now)?;
    Ok(fingerprint)
}
