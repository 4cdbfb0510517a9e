//! What the drill's configuration says beside the rules of the tables: what belongs to a site, who must approve, and
//! with which keys they do.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use super::files;
use super::stage::Stage;
use crate::approval::{Evidence, Key, Signature};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plan::Plan;

/// Who makes the plan.
pub const AUTHOR: &str = "olga@drill";
/// Who approves it.
const APPROVERS: [&str; 2] = ["anna@drill", "ben@drill"];

/// What a person must look after for each site; a top-level entry, so it stands before the tables.
pub const SIDE_EFFECTS: &str =
    "side_effects = [\"revoke the sessions of {tenant}\", \"rebuild the search index of {tenant}\"]\n";

/// The sections beside the shards'.
pub fn sections(folder: &Path, flags: &str, is_postgres: bool) -> String {
    let id = if is_postgres { "CAST($1 AS uuid)" } else { "$1" };
    let folder_of = |name: &str| format!("file://{}", folder.join(name).display());
    let mut out = format!(
        "\n[gate]\ncolumn = \"state\"\nrestoring = \"restoring\"\n\n\
         [media.files]\nfrom = \"{}\"\nto = \"{}\"\nprefix = \"{}/{{tenant}}\"\n\n\
         [hooks.flags]\nurl = \"{flags}/restore/{{tenant}}\"\n\n\
         [checks.flags-known]\nurl = \"{flags}/health/{{tenant}}\"\n\n\
         [checks.members]\nshard = \"identity\"\nsql = \"\"\"\n\
         SELECT m.user_id FROM group_members m JOIN groups g ON g.id = m.group_id LEFT JOIN users u ON u.id = m.user_id\n\
         WHERE g.site_id = {id} AND (u.id IS NULL OR u.site_id <> g.site_id)\"\"\"\n\n",
        folder_of(files::BACKUP),
        folder_of(files::LIVE),
        files::PREFIX,
    );
    for shard in ["docs-1", "docs-2"] {
        let _ = write!(
            out,
            "[checks.pages-of-{shard}]\nshard = \"{shard}\"\nsql = \"\"\"\n\
             SELECT p.id FROM pages p JOIN spaces s ON s.id = p.space_id JOIN pages above ON above.id = p.parent_id\n\
             WHERE s.site_id = {id} AND above.space_id <> p.space_id\"\"\"\n\n"
        );
    }
    out.push_str(
        "[rings]\nsizes = [5, 20, 100]\n\n[approvals]\nallowed_signers = \"allowed_signers\"\nrequired = [{ from = 1, count = 2 }]\n",
    );
    out
}

/// Makes a key for everybody, and the file that says whose keys count.
pub fn make_keys(stage: &Stage) -> Result<Vec<(&'static str, Key)>> {
    let mut keys = Vec::new();
    let mut signers = String::new();
    for who in [AUTHOR].into_iter().chain(APPROVERS) {
        let key = Key::from_secret(&secret()?, who)?;
        let _ = writeln!(signers, "{who} {}", key.public()?);
        keys.push((who, key));
    }
    stage.write_file("allowed_signers", &signers)?;
    Ok(keys)
}

fn secret() -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut secret))
        .map_err(|error| Error::failed("unable to make a key for the drill").because(error))?;
    Ok(secret)
}

/// Two others than the author sign the plan; the signatures go beside it, as `reinstate approve` puts them.
pub fn approve(stage: &Stage, plan: &Plan, keys: &[(&'static str, Key)]) -> Result<Vec<Signature>> {
    let mut signatures = Vec::new();
    for (who, key) in keys.iter().filter(|(who, _)| APPROVERS.contains(who)) {
        let text = key.sign(&plan.hash)?;
        stage.write_file(&format!("plan.approvals/{who}.sig"), &text)?;
        signatures.push(Signature { principal: (*who).to_owned(), text });
    }
    Ok(signatures)
}

/// What the rails judge the plan by.
pub fn evidence(config: &Config, signatures: Vec<Signature>) -> Evidence<'_> {
    Evidence { rules: config.approvals.as_ref(), signatures, now: jiff::Timestamp::now() }
}
