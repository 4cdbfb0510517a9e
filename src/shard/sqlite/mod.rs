//! stub
use super::Shard;
use crate::error::{Error, Result};
use crate::model::{DatabaseUrl, ShardName};
use std::sync::Arc;

/// Connects.
pub async fn open(_name: &ShardName, _url: &DatabaseUrl, _connections_max: usize) -> Result<Arc<dyn Shard>> {
    Err(Error::bug("stub"))
}
