//! stub
#![allow(missing_docs)]
use crate::model::*;
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub url: String,
    #[serde(default)]
    pub after: Option<Vec<String>>,
}
impl Hook {
    pub fn check_settings(&self, _: &str) -> crate::error::Result<()> {
        Ok(())
    }
}
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub url: Option<String>,
    pub shard: Option<ShardName>,
    pub sql: Option<String>,
    #[serde(default)]
    pub after: Option<Vec<String>>,
}
impl Check {
    pub fn check_settings(&self, _: &str) -> crate::error::Result<()> {
        Ok(())
    }
}
pub struct Call;
impl Call {
    pub fn new(_: &PlanHash, _: &TenantId, _: Option<&str>, _: &str) -> Self {
        Call
    }
}
pub async fn call(
    _: &Hook,
    _: &str,
    _: &Call,
    _: tokio::sync::watch::Receiver<bool>,
) -> crate::error::Result<String> {
    Ok(String::new())
}
pub async fn check(
    _: &Check,
    _: &str,
    _: &Call,
    _: tokio::sync::watch::Receiver<bool>,
) -> crate::error::Result<String> {
    Ok(String::new())
}
