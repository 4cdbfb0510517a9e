//! stub
#![allow(missing_docs)]
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    pub from: String,
    #[serde(default)]
    pub after: Option<Vec<String>>,
}
impl Media {
    pub fn check_settings(&self, _: &str) -> crate::error::Result<()> {
        Ok(())
    }
}
#[derive(Debug)]
pub struct Restored;
impl std::fmt::Display for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("x")
    }
}
pub async fn restore(
    _: &Media,
    _: &str,
    _: &crate::model::TenantId,
    _: tokio::sync::watch::Receiver<bool>,
    _: &dyn crate::progress::Progress,
) -> crate::error::Result<Restored> {
    Ok(Restored)
}
