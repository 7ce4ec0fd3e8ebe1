//! The tasks that wait for the writing side of one stream: one writes, and one reads and tends.
//!
//! 1. A socket, a ring and an engine know one waker each. It is the one made of this, and wakes
//!    every task that waits: what one of them takes note of is news to the other.
//! 2. Who gets the writing side on for others wakes them. A task enlists while it has the lock and
//!    before its last look, so that it misses nothing.

use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Wake, Waker};

use crate::sync::Mutex;

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

#[cfg(all(test, not(loom)))]
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

#[cfg(all(test, loom))]
mod loom_models {
    use loom::sync::Condvar;
    use loom::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A task on a thread of its own. One that sleeps for ever is reported by loom.
    struct Task {
        is_woken: Mutex<bool>,
        woken: Condvar,
    }

    impl Task {
        fn new() -> Arc<Self> {
            Arc::new(Self { is_woken: Mutex::new(false), woken: Condvar::new() })
        }

        fn sleep(&self) {
            let mut is_woken = self.is_woken.lock().unwrap();
            while !mem::take(&mut *is_woken) {
                is_woken = self.woken.wait(is_woken).unwrap();
            }
        }
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            *self.is_woken.lock().unwrap() = true;
            self.woken.notify_one();
        }
    }

    /// Waits as a task does, until `try_it` succeeds; `look` is its last one before it sleeps.
    fn wait(tasks: &Tasks, half: Half, try_it: impl Fn() -> bool, look: impl Fn() -> bool) {
        let task = Task::new();
        while !try_it() {
            let waker = Waker::from(task.clone());
            if tasks.enlist(half, &Context::from_waker(&waker)) && !look() {
                task.sleep();
            }
        }
    }

    /// The source's news are gone when the task looks for them: who took them got the task on.
    #[test]
    fn loom_a_task_about_to_wait_is_told_what_another_streams_thread_took() {
        loom::model(|| {
            let (tasks, room) = (Arc::new(Tasks::default()), Arc::new(Mutex::new(false)));
            let stranger = loom::thread::spawn({
                let (tasks, room) = (tasks.clone(), room.clone());
                move || {
                    let mut room = room.lock().unwrap();
                    *room = true;
                    tasks.stir();
                }
            });
            wait(&tasks, Half::Writing, || *room.lock().unwrap(), || false);
            stranger.join().unwrap();
        });
    }

    /// The source wakes once, through the one waker that it knows.
    #[test]
    fn loom_news_wake_both_tasks() {
        loom::model(|| {
            let (tasks, news) = (Arc::new(Tasks::default()), Arc::new(AtomicBool::new(false)));
            let there = |news: &AtomicBool| news.load(Ordering::SeqCst);
            let source = loom::thread::spawn({
                let (all, news) = (Waker::from(tasks.clone()), news.clone());
                move || {
                    news.store(true, Ordering::SeqCst);
                    all.wake();
                }
            });
            let reader = loom::thread::spawn({
                let (tasks, news) = (tasks.clone(), news.clone());
                move || wait(&tasks, Half::Reading, || there(&news), || there(&news))
            });
            wait(&tasks, Half::Writing, || there(&news), || there(&news));
            [source, reader].into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
