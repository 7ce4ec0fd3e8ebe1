//! The tasks that wait for the writing side of one stream: one writes, and one reads and tends.
//!
//! 1. A socket, a ring and an engine know one waker each. It is the one made of this, and wakes
//!    every task that waits: what one of them takes note of is news to the other.
//! 2. Who gets the writing side on for others wakes them. A task enlists while it has the lock and
//!    before its last look, so that it misses nothing.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Which half a task uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Reading,
    Writing,
}

#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Another stream's thread got this one on, and a task may be about to wait.
    is_stirred: bool,
}

impl Tasks {
    /// Has the task woken by the next news; false if there were some just now.
    pub(crate) fn enlist(&self, half: Half, context: &Context<'_>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let task = match half {
            Half::Reading => &mut waiting.reader,
            Half::Writing => &mut waiting.writer,
        };
        match task {
            Some(task) => task.clone_from(context.waker()),
            None => *task = Some(context.waker().clone()),
        }
        !mem::take(&mut waiting.is_stirred)
    }

    /// Wakes those who wait, and the next who would.
    pub(crate) fn stir(&self) {
        self.wake_waiting(true);
    }

    /// Wakes those who wait.
    pub(crate) fn wake(&self) {
        self.wake_waiting(false);
    }

    fn wake_waiting(&self, stir: bool) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.is_stirred |= stir;
        let tasks = [waiting.reader.take(), waiting.writer.take()];
        // A waker is others' code.
        drop(waiting);
        tasks.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Wake for Tasks {
    fn wake(self: Arc<Self>) {
        self.wake_waiting(false);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_waiting(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn woken(count: &Count) -> usize {
        count.0.swap(0, Ordering::SeqCst)
    }

    #[test]
    fn news_wakes_both_tasks_once() {
        let (reader, writer, tasks) = <(Arc<Count>, Arc<Count>, Arc<Tasks>)>::default();
        let (reading, writing) = (Waker::from(reader.clone()), Waker::from(writer.clone()));
        let all = Waker::from(tasks.clone());
        assert!(tasks.enlist(Half::Reading, &Context::from_waker(&reading)));
        assert!(tasks.enlist(Half::Writing, &Context::from_waker(&writing)));
        all.wake_by_ref();
        all.wake_by_ref();
        assert_eq!((woken(&reader), woken(&writer)), (1, 1));
        assert!(tasks.enlist(Half::Writing, &Context::from_waker(&writing)));
        tasks.wake();
        assert_eq!((woken(&reader), woken(&writer)), (0, 1));
    }

    #[test]
    fn one_that_is_about_to_wait_is_told_of_what_came_before() {
        let (task, tasks) = <(Arc<Count>, Tasks)>::default();
        let waker = Waker::from(task.clone());
        let context = Context::from_waker(&waker);
        tasks.stir();
        assert!(!tasks.enlist(Half::Writing, &context));
        assert!(tasks.enlist(Half::Writing, &context), "once");
        tasks.stir();
        assert_eq!(woken(&task), 1);
    }
}
