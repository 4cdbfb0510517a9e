//! A queue between two stages, bounded by items and by bytes: a few batches of ordinary rows, one of large ones.
//!
//! What the receiver took last counts until it asks for more: it is still in memory while the receiver works on it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits::QUEUE_BYTES_MAX;
use crate::model::Chunk;

/// What takes memory while it waits.
pub trait Weigh {
    /// About how many bytes.
    fn weight(&self) -> usize;
}

impl Weigh for RecordBatch {
    fn weight(&self) -> usize {
        self.get_array_memory_size()
    }
}

impl Weigh for Chunk {
    fn weight(&self) -> usize {
        self.tuples.bytes.len()
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn weight(&self) -> usize {
        self.iter().map(T::weight).sum()
    }
}

impl<K, T: Weigh> Weigh for HashMap<K, T> {
    fn weight(&self) -> usize {
        self.values().map(T::weight).sum()
    }
}

impl<T: Weigh, E> Weigh for Result<T, E> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, T::weight)
    }
}

/// A queue of at most so many waiting items.
pub fn queue<T: Weigh>(items_max: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(items_max.max(1));
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    (Sender { items: sender, room }, Receiver { items: receiver, last: None })
}

/// Where items are put.
pub struct Sender<T> {
    items: mpsc::Sender<(T, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), room: Arc::clone(&self.room) }
    }
}

/// The receiver does not want any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted;

impl<T: Weigh> Sender<T> {
    /// Puts an item as soon as there is room for it. One that is larger than the queue has it for itself.
    pub async fn send(&self, item: T) -> Result<(), Unwanted> {
        let bytes = item.weight().clamp(1, QUEUE_BYTES_MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Unwanted)?;
        self.items.send((item, taken)).await.map_err(|_| Unwanted)
    }

    /// Waits while one item takes all the room: before that is gone no other one is worth making.
    pub async fn has_room(&self) {
        drop(self.room.acquire().await);
    }

    /// Waits until nothing is wanted any more.
    pub async fn closed(&self) {
        self.items.closed().await;
    }
}

/// Where items are taken.
pub struct Receiver<T> {
    items: mpsc::Receiver<(T, OwnedSemaphorePermit)>,
    /// The room of the item that was taken last.
    last: Option<OwnedSemaphorePermit>,
}

impl<T> Receiver<T> {
    /// The next item; `None` when all senders are gone.
    pub async fn recv(&mut self) -> Option<T> {
        self.last = None;
        let (item, taken) = self.items.recv().await?;
        self.last = Some(taken);
        Some(item)
    }
}

const _: () = assert!(QUEUE_BYTES_MAX <= u32::MAX as usize && QUEUE_BYTES_MAX <= Semaphore::MAX_PERMITS);

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Bytes that need not be there.
    struct Heavy(usize);

    impl Weigh for Heavy {
        fn weight(&self) -> usize {
            self.0
        }
    }

    #[tokio::test]
    async fn what_is_worked_on_takes_room_until_more_is_wanted() {
        let (sender, mut receiver) = queue(4);
        let half = || Heavy(QUEUE_BYTES_MAX / 2);
        let is_sent = |item| sender.send(item).now_or_never() == Some(Ok(()));
        assert!(is_sent(half()) && is_sent(half()) && !is_sent(Heavy(1)));
        assert!(receiver.recv().await.is_some());
        assert!(!is_sent(Heavy(1)), "the first one is being worked on");
        assert!(receiver.recv().await.is_some());
        assert!(is_sent(half()) && !is_sent(Heavy(1)));
    }

    #[tokio::test]
    async fn a_larger_item_waits_alone_and_small_ones_are_counted() {
        let (sender, mut receiver) = queue(2);
        let is_sent = |item| sender.send(item).now_or_never() == Some(Ok(()));
        assert!(is_sent(Heavy(9 * QUEUE_BYTES_MAX)) && !is_sent(Heavy(0)));
        assert!(receiver.recv().await.is_some_and(|item| item.0 == 9 * QUEUE_BYTES_MAX));
        assert!(!is_sent(Heavy(0)) && sender.has_room().now_or_never().is_none());
        assert!(receiver.recv().now_or_never().is_none());
        assert!(sender.has_room().now_or_never().is_some());
        assert!(is_sent(Heavy(0)) && is_sent(Heavy(0)) && !is_sent(Heavy(0)));
        let waiting = sender.clone();
        let waiting = tokio::spawn(async move { waiting.send(Heavy(QUEUE_BYTES_MAX)).await });
        drop(receiver);
        assert_eq!(waiting.await.expect("no panic"), Err(Unwanted));
    }
}
