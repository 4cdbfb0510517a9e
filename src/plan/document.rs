//! The plan as a file: JSON for people and machines, with the hash of its own content.

use std::path::Path;

use super::{PLAN_FORMAT, Plan};
use crate::error::{Error, Result};
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::model::{PlanHash, document_hash};

/// The field that holds the hash of all others.
const HASH_FIELD: &str = "hash";

impl Plan {
    /// The hash of everything in the plan but the hash.
    pub fn content_hash(&self) -> Result<PlanHash> {
        let content = serde_json::to_value(self)
            .map_err(|error| Error::bug("a plan has no JSON form").because(error))?;
        Ok(PlanHash::new(document_hash(&content, HASH_FIELD)))
    }

    /// The text of the plan file.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::bug("a plan has no JSON form").because(error))?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a plan file and checks that it is what the dry run wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let unable = || Error::refused(format!("unable to read plan '{}'", path.display()));
        let make = "`reinstate plan --tenants FILE -o plan.json` makes one";
        let size = std::fs::metadata(path).map_err(|error| unable().because(error).hint(make))?.len();
        if size > DOCUMENT_BYTES_MAX {
            return Err(unable().hint(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unable().because(error))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a plan; `name` is for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let unable = || Error::refused(format!("unable to read plan '{name}'"));
        let again = "make the plan again with `reinstate plan`";
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| unable().because(error).hint(again))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(PLAN_FORMAT) => {}
            Some(format) => {
                return Err(Error::refused(format!(
                    "unable to read plan '{name}': its format is version {format}, this reinstate reads version {PLAN_FORMAT}"
                ))
                .hint(again));
            }
            None => {
                return Err(
                    Error::refused(format!("unable to read plan '{name}': it is not a plan")).hint(again)
                );
            }
        }
        let hash = document_hash(&value, HASH_FIELD);
        let plan: Self =
            serde_json::from_value(value).map_err(|error| unable().because(error).hint(again))?;
        if plan.hash.as_str() != hash {
            return Err(Error::refused(format!(
                "unable to trust plan '{name}': it was changed after the dry run"
            ))
            .hint(again));
        }
        Ok(plan)
    }
}
