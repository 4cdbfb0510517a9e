//! Background work as a bounded stream of batches.
//!
//! Work starts when the stream is first polled, so that a caller may open many streams and read them one by
//! one; it stops when the stream is dropped. An error ends the stream, and a worker that panicked is an
//! error, never an end.

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::limits::QUEUE_BATCHES_MAX;
use crate::queue::{Receiver, Sender, queue};

/// Where a worker puts its batches; sending fails when the reader is gone.
pub type BatchSender = Sender<Result<RecordBatch>>;

/// One piece of work: sends its batches and ends.
pub type Worker = Box<dyn FnOnce(BatchSender) -> BoxFuture<'static, Result<()>> + Send>;

enum State {
    Waiting(Vec<Worker>),
    Running(Receiver<Result<RecordBatch>>, JoinSet<Result<()>>),
    Over,
}

/// The stream of what all `workers` send.
pub fn feed(workers: Vec<Worker>) -> BoxStream<'static, Result<RecordBatch>> {
    stream::unfold(State::Waiting(workers), |state| async move {
        let (mut receiver, mut running) = match state {
            State::Waiting(workers) => start(workers),
            State::Running(receiver, running) => (receiver, running),
            State::Over => return None,
        };
        match receiver.recv().await {
            Some(Ok(batch)) => Some((Ok(batch), State::Running(receiver, running))),
            Some(Err(error)) => Some((Err(error), State::Over)),
            None => end(&mut running).await.err().map(|error| (Err(error), State::Over)),
        }
    })
    .boxed()
}

fn start(workers: Vec<Worker>) -> (Receiver<Result<RecordBatch>>, JoinSet<Result<()>>) {
    let (sender, receiver) = queue(QUEUE_BATCHES_MAX);
    let mut running = JoinSet::new();
    for worker in workers {
        let sender = sender.clone();
        running.spawn(async move {
            if let Err(error) = worker(sender.clone()).await {
                // At once, not when the other workers are through. If the reader is gone nobody wants to
                // know.
                let _ = sender.send(Err(error)).await;
            }
            Ok(())
        });
    }
    (receiver, running)
}

/// All senders are gone; looks how the workers ended.
async fn end(running: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Error::bug("a reading task ended early").because(error))??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_is_an_error_and_not_an_end() {
        let worker: Worker = Box::new(|_| Box::pin(async { panic!("on purpose") }));
        let ended: Vec<Result<RecordBatch>> = feed(vec![worker]).collect().await;
        assert_eq!(ended.len(), 1);
        assert!(ended[0].is_err());
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let worker: Worker = Box::new(|_| Box::pin(async { Err(Error::failed("unable")) }));
        let ended: Vec<Result<RecordBatch>> = feed(vec![worker]).collect().await;
        assert_eq!(ended.len(), 1);
    }
}
