//! One tenant's rows in the shape of a live table that has changed since the snapshot.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::rows::{nobodys_rows, tenant_rows};
use crate::bridge;
use crate::error::{Error, Result};
use crate::model::adapt::{Adaptation, Misfit};
use crate::model::wire::Decoder;
use crate::model::{Chunk, ChunkStream, Fingerprint, Table, TenantId};
use crate::queue::Weigh;
use crate::source::{BatchStream, Source};

/// Rows before and after.
pub struct AdaptedChunk {
    /// As the snapshot has them.
    pub taken: Chunk,
    /// As the live table takes them; rows with a misfit are left out.
    pub adapted: Chunk,
    /// Values that the live table cannot hold.
    pub misfits: Vec<Misfit>,
}

impl Weigh for AdaptedChunk {
    fn weight(&self) -> usize {
        self.taken.weight() + self.adapted.weight()
    }
}

/// Chunks before and after.
pub type AdaptedStream = BoxStream<'static, Result<AdaptedChunk>>;

/// The rows of `tenant` in the table of `adaptation`, adapted to `written`.
pub async fn adapted_rows(
    source: &dyn Source,
    adaptation: &Adaptation,
    written: &Table,
    tenant: &TenantId,
) -> Result<AdaptedStream> {
    let mut chunks = tenant_rows(source, &adaptation.taken, tenant).await?;
    let adaptation = Arc::new(adaptation.clone());
    let written = Arc::new(written.clone());
    let tenant = tenant.clone();
    Ok(bridge::pipe(1, move |sender| async move {
        while let Some(taken) = chunks.next().await {
            let taken = taken?;
            let (adaptation, written, tenant) =
                (Arc::clone(&adaptation), Arc::clone(&written), tenant.clone());
            let adapt = move || adapt(&adaptation, &written, Some(tenant.as_str()), taken);
            let adapted = bridge::compute(adapt).await??;
            if sender.send(adapted).await.is_err() {
                break;
            }
            sender.has_room().await;
        }
        Ok(())
    }))
}

/// The adapted rows alone, for whoever compares instead of writing. A misfit ends the stream.
pub async fn adapted_batches(
    source: &dyn Source,
    adaptation: &Adaptation,
    written: &Table,
    tenant: &TenantId,
) -> Result<BatchStream> {
    let chunks = adapted_rows(source, adaptation, written, tenant).await?;
    Ok(chunks.map(|chunk| Ok(fitting(chunk?)?.adapted.batch)).boxed())
}

/// The rows as the live table takes them, adapted where it has changed.
pub async fn written_rows(
    source: &dyn Source,
    adaptation: Option<&Adaptation>,
    written: &Table,
    tenant: &TenantId,
) -> Result<ChunkStream> {
    let Some(adaptation) = adaptation else { return tenant_rows(source, written, tenant).await };
    let chunks = adapted_rows(source, adaptation, written, tenant).await?;
    Ok(chunks.map(|chunk| Ok(fitting(chunk?)?.adapted)).boxed())
}

/// The rows that no tenant owns, as the live table would take them; those that it would not are left out.
pub async fn unowned_rows(
    source: &dyn Source,
    adaptation: Option<&Adaptation>,
    written: &Table,
) -> Result<ChunkStream> {
    let Some(adaptation) = adaptation.cloned() else { return nobodys_rows(source, written).await };
    let chunks = nobodys_rows(source, &adaptation.taken).await?;
    let written = Arc::new(written.clone());
    Ok(chunks.map(move |chunk| Ok(adapt(&adaptation, &written, None, chunk?)?.adapted)).boxed())
}

/// The chunk, unless it holds a value that does not fit. A plan is only made where none does.
pub fn fitting(chunk: AdaptedChunk) -> Result<AdaptedChunk> {
    match chunk.misfits.first() {
        None => Ok(chunk),
        Some(misfit) => Err(Error::refused(format!(
            "unable to give rows the shape of the live table: a value {}, which none was when the plan was made",
            misfit.why
        ))
        .hint("`reinstate snapshot verify` says whether the snapshot is whole")),
    }
}

fn adapt(
    adaptation: &Adaptation,
    written: &Arc<Table>,
    owner: Option<&str>,
    taken: Chunk,
) -> Result<AdaptedChunk> {
    let unfit = |error| {
        Error::bug(format!("the rows of table '{}' do not fit their adaptation", written.name)).because(error)
    };
    let rows = adaptation.adapt(&taken.tuples).map_err(unfit)?;
    let mut decoder = Decoder::new(Arc::clone(written));
    for tuple in rows.tuples.iter() {
        decoder.push(owner, tuple).map_err(unfit)?;
    }
    let batch = decoder.finish_plain();
    let fingerprint = Fingerprint::of(&rows.tuples);
    let adapted = Chunk { batch, tuples: rows.tuples, fingerprint };
    Ok(AdaptedChunk { taken, adapted, misfits: rows.misfits })
}
