//! Who is connected: the cap on connections, and the word to all of them when the server stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// How far the server is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Connections are welcome.
    Serving = 0,
    /// No new sessions; those that are there execute what they were sent.
    Draining = 1,
    /// All have: nobody reads any more, so that nothing is accepted for somebody who has been told already.
    Halted = 2,
    /// Nobody does: sessions say good-bye.
    Leaving = 3,
    /// Everything ends at once.
    Ended = 4,
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Roster {
    cap: usize,
    /// Lock order: `open`, then a seat's waker.
    open: Mutex<Open>,
    /// Told when the last session, or the last connection of all, has gone.
    gone: Notify,
}

#[derive(Debug)]
struct Open {
    stage: Stage,
    next: u64,
    seats: HashMap<u64, Arc<Call>>,
    sessions: usize,
    /// Sessions that have done what the stage asks of them.
    agreed: usize,
}

/// How a connection's task is reached.
#[derive(Debug)]
struct Call {
    stage: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    roster: Arc<Roster>,
    id: u64,
    call: Arc<Call>,
    session: bool,
    /// The last stage that it has agreed to leave.
    agreed: Stage,
}

impl Roster {
    /// Room for `cap` connections.
    pub(super) fn new(cap: usize) -> Arc<Roster> {
        Arc::new(Roster {
            cap,
            open: Mutex::new(Open {
                stage: Stage::Serving,
                next: 0,
                seats: HashMap::new(),
                sessions: 0,
                agreed: 0,
            }),
            gone: Notify::new(),
        })
    }

    /// A seat, unless all are taken.
    pub(super) fn admit(self: &Arc<Roster>) -> Option<Seat> {
        let mut open = self.lock();
        if open.seats.len() >= self.cap {
            return None;
        }
        let id = open.next;
        open.next += 1;
        let call = Arc::new(Call {
            stage: AtomicU8::new(open.stage as u8),
            waker: Mutex::new(None),
        });
        open.seats.insert(id, call.clone());
        Some(Seat {
            roster: self.clone(),
            id,
            call,
            session: false,
            agreed: Stage::Serving,
        })
    }

    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    pub(super) fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Connections of any kind, and how many of them are STOMP sessions.
    pub(super) fn counts(&self) -> (usize, usize) {
        let open = self.lock();
        (open.seats.len(), open.sessions)
    }

    /// Tells every connection, and those to come, how far the server is. Never goes back.
    pub(super) fn proceed(&self, stage: Stage) {
        let calls = {
            let mut open = self.lock();
            if stage <= open.stage {
                return;
            }
            open.enter(stage)
        };
        tell(&calls, stage);
    }

    /// Waits until no session is left.
    pub(super) async fn sessions_gone(&self) {
        self.wait(|open| open.sessions == 0).await;
    }

    /// Waits until no connection is left.
    pub(super) async fn all_gone(&self) {
        self.wait(|open| open.seats.is_empty()).await;
    }

    async fn wait(&self, until: fn(&Open) -> bool) {
        loop {
            let told = self.gone.notified();
            if until(&self.lock()) {
                return;
            }
            told.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Whom to tell of the stage.
    fn enter(&mut self, stage: Stage) -> Vec<Arc<Call>> {
        self.stage = stage;
        self.agreed = 0;
        self.seats.values().cloned().collect()
    }

    /// The stage that begins because all sessions have agreed to leave the one before, and whom to tell.
    fn go_on(&mut self) -> Option<(Stage, Vec<Arc<Call>>)> {
        let next = match self.stage {
            Stage::Draining => Stage::Halted,
            Stage::Halted => Stage::Leaving,
            Stage::Serving | Stage::Leaving | Stage::Ended => return None,
        };
        let all = self.sessions > 0 && self.agreed == self.sessions;
        all.then(|| (next, self.enter(next)))
    }
}

fn tell(calls: &[Arc<Call>], stage: Stage) {
    for call in calls {
        call.stage.fetch_max(stage as u8, Ordering::SeqCst);
        let waker = call.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Seat {
    /// Counts this connection as a STOMP session: a stopping server waits for it.
    pub(super) fn seat_session(&mut self) {
        if !self.session {
            self.session = true;
            self.roster.lock().sessions += 1;
        }
    }

    /// The session has done what `stage` asks of it. When all have, the next stage begins.
    pub(super) fn agree(&mut self, stage: Stage) {
        if !self.session || self.agreed >= stage {
            return;
        }
        let next = {
            let mut open = self.roster.lock();
            if open.stage != stage {
                return;
            }
            self.agreed = stage;
            open.agreed += 1;
            open.go_on()
        };
        if let Some((stage, calls)) = next {
            tell(&calls, stage);
        }
    }

    /// How far the server is; the task is woken when that changes.
    pub(super) fn poll_stage(&self, cx: &Context<'_>) -> Stage {
        {
            let mut waker = self.call.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        match self.call.stage.load(Ordering::SeqCst) {
            0 => Stage::Serving,
            1 => Stage::Draining,
            2 => Stage::Halted,
            3 => Stage::Leaving,
            _ => Stage::Ended,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let next = {
            let mut open = self.roster.lock();
            open.seats.remove(&self.id);
            if self.session {
                open.sessions -= 1;
                open.agreed -= usize::from(self.agreed == open.stage && open.stage > Stage::Serving);
            }
            if open.sessions == 0 || open.seats.is_empty() {
                self.roster.gone.notify_waiters();
            }
            open.go_on()
        };
        if let Some((stage, calls)) = next {
            tell(&calls, stage);
        }
    }
}
