//! Rows whose table has changed since the snapshot, on their way: counted as they were taken, their dropped values
//! kept in a file, then handed on in their new shape.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;

use super::transaction::Steps;
use crate::bridge;
use crate::error::{Error, Result};
use crate::extract::{self, sidecar, sidecar::Sidecar};
use crate::model::adapt::Adaptation;
use crate::model::{ChunkStream, Fingerprint, OwnedTable};

/// What went by in the shape that the snapshot has.
pub(super) struct Taken(Arc<Mutex<State>>);

struct State {
    fingerprint: Fingerprint,
    sidecar: Option<Sidecar>,
}

fn lock(state: &Mutex<State>) -> Result<MutexGuard<'_, State>> {
    state.lock().map_err(|_| Error::bug("a writer stopped in the middle of a batch"))
}

impl Taken {
    /// The fingerprint of the rows as the snapshot has them.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Ok(lock(&self.0)?.fingerprint)
    }

    /// Completes the file of dropped values, if there is one. To be called before the commit.
    pub fn finish(&self) -> Result<Option<PathBuf>> {
        match &mut lock(&self.0)?.sidecar {
            Some(sidecar) => sidecar.finish(),
            None => Ok(None),
        }
    }
}

/// The tenant's rows in their new shape, and what they were before.
pub(super) async fn rows(
    steps: &Steps<'_>,
    adaptation: &Adaptation,
    owned: &OwnedTable,
) -> Result<(ChunkStream, Taken)> {
    let source = steps.connected.source.as_ref();
    let chunks = extract::adapted_rows(source, adaptation, &owned.table, &steps.tenant.id).await?;
    let path = sidecar::path(&steps.run.dropped, &steps.part.shard, adaptation, &steps.tenant.id);
    let sidecar = (!adaptation.dropped.is_empty()).then(|| Sidecar::new(path, adaptation));
    let state = Arc::new(Mutex::new(State { fingerprint: Fingerprint::default(), sidecar }));
    let shared = Arc::clone(&state);
    let chunks = chunks.then(move |chunk| {
        let state = Arc::clone(&shared);
        async move {
            let chunk = extract::fitting(chunk?)?;
            bridge::compute(move || {
                let mut state = lock(&state)?;
                state.fingerprint += chunk.taken.fingerprint;
                if let Some(sidecar) = &mut state.sidecar {
                    sidecar.write(&chunk.taken.batch)?;
                }
                Ok(chunk.adapted)
            })
            .await?
        }
    });
    Ok((chunks.boxed(), Taken(state)))
}
