//! stub
use super::Source;
use crate::error::{Error, Result};
use crate::model::{DatabaseUrl, ShardName, Tenancy};

/// Connects.
pub async fn open(_: &ShardName, _: &DatabaseUrl, _: &Tenancy, _: usize) -> Result<Box<dyn Source>> {
    Err(Error::bug("stub"))
}
