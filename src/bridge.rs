//! The one bridge between I/O and computing.
//!
//! Tokio's workers wait for sockets and files; a decode or a sort of some milliseconds on them would stall
//! every connection that shares the worker, and with it the transactions that hold locks on a live shard. So
//! whatever computes goes to rayon's pool, and the number of jobs on the way is bounded: the work queue never
//! grows.
//!
//! [`pipe`] is the way back: a task that feeds a bounded stream, so that a stage runs ahead of the next one. Such
//! tasks have threads of their own, which compute on the spot and step back behind everybody else on the machine:
//! what is read ahead must not keep an answer of the server waiting.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::limits::{COMPUTED_AT_ONCE_BYTES_MAX, READER_NICENESS};
use crate::queue::{Sender, Weigh, queue};

thread_local! {
    /// Whether this is a thread of [`READERS`].
    static IS_READER: Cell<bool> = const { Cell::new(false) };
}

/// Where [`pipe`]'s tasks run; `None` if the system gives no threads, and then they run with all others.
static READERS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let begin = || {
        IS_READER.set(true);
        // On Linux the niceness is the thread's own. Without it everything works, only less smoothly.
        if let Err(error) = rustix::process::nice(READER_NICENESS) {
            tracing::debug!(%error, "unable to lower the priority of a reading thread");
        }
    };
    let threads = rayon::current_num_threads();
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(threads).thread_name("reader").on_thread_start(begin).enable_all();
    runtime.build().inspect_err(|error| tracing::debug!(%error, "unable to start reading threads")).ok()
});

static SLOTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(rayon::current_num_threads() * 2));

/// Runs `work` on rayon and waits for it without blocking the async worker; on a thread that only reads, at once. A
/// panic of `work` becomes an error: left alone it would end the process from within the pool.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if IS_READER.get() {
        return catch_unwind(AssertUnwindSafe(work)).map_err(panicked);
    }
    let gone = |_| Error::bug("the computing pool stopped");
    let slot = SLOTS.acquire().await.map_err(|_| Error::bug("the computing pool is closed"))?;
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // The slot belongs to the job, not to the waiting future: a future that nobody polls would keep it,
        // and enough of those would stop everyone.
        drop(slot);
        // The receiver is gone when the caller was cancelled; then nobody wants the result.
        let _ = sender.send(result);
    });
    receiver.await.map_err(gone)?.map_err(panicked)
}

/// Runs `work` on so many bytes: at once if a hand-over would take longer than the work, else as [`compute`] does.
pub async fn compute_on<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match bytes <= COMPUTED_AT_ONCE_BYTES_MAX {
        true => catch_unwind(AssertUnwindSafe(work)).map_err(panicked),
        false => compute(work).await,
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Error {
    Error::bug(format!("a job panicked: {}", said(&*panic)))
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs `work` as a task of its own that feeds a stream of at most `capacity` waiting items. Dropping the
/// stream stops the task. An error of the task, or its panic, is the stream's last item: a stream never just
/// ends early. `work` returns `Ok` when a send fails, since then nobody wants the rest.
pub fn pipe<T, W, F>(capacity: usize, work: W) -> BoxStream<'static, Result<T>>
where
    T: Weigh + Send + 'static,
    W: FnOnce(Sender<T>) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, receiver) = queue(capacity);
    let mut task = JoinSet::new();
    match READERS.as_ref() {
        Some(readers) => task.spawn_on(work(sender), readers.handle()),
        None => task.spawn(work(sender)),
    };
    stream::unfold((receiver, task), |(mut receiver, mut task)| async move {
        if let Some(item) = receiver.recv().await {
            return Some((Ok(item), (receiver, task)));
        }
        let failure = match task.join_next().await? {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(error) => Error::bug("a task that reads rows ended early").because(error),
        };
        Some((Err(failure), (receiver, task)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        for bytes in [0, COMPUTED_AT_ONCE_BYTES_MAX + 1] {
            let error = compute_on(bytes, || -> () { panic!("out of cheese") }).await.expect_err("an error");
            assert_eq!(error.to_string(), "a job panicked: out of cheese");
        }
    }

    #[tokio::test]
    async fn jobs_whose_callers_do_not_poll_do_not_stop_the_others() {
        let mut forgotten = Vec::new();
        for _ in 0..rayon::current_num_threads() * 4 {
            let mut job = Box::pin(compute(|| ()));
            // Polled once: the job is on its way, and nobody will ask for its result.
            let _ = futures::poll!(&mut job);
            forgotten.push(job);
            compute(|| ()).await.expect("a job of someone else");
        }
    }

    #[tokio::test]
    async fn a_pipe_ends_with_the_error_of_its_task() {
        let empty = || RecordBatch::new_empty(Arc::new(Schema::empty()));
        let items: Vec<Result<RecordBatch>> = pipe(1, |sender| async move {
            let _ = sender.send(empty()).await;
            Err(Error::failed("unable to go on"))
        })
        .collect()
        .await;
        assert!(matches!(&items[..], [Ok(_), Err(error)] if error.to_string() == "unable to go on"));
        let items: Vec<Result<RecordBatch>> = pipe(1, |_| async { panic!("lost") }).collect().await;
        assert!(matches!(&items[..], [Err(error)] if error.to_string().contains("ended early")));
    }
}
