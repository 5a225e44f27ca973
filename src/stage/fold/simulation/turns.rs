//! Whose turn it is. Every thread of a history is a real thread that runs the stage's own code, but only one runs at a
//! time: each call to the outside ends its turn, and the seed says whose is next. So a seed is the same history every
//! time (but for what a database's own thread does to a disk), and a thread can be stopped, or killed, at any such call. Time passes by the calls and by sleeping.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::seen::{Seen, seen};

/// Of ten calls, so many end a turn.
const TURNS_OF_TEN: u8 = 3;
/// A call takes up to so long.
const CALL_MICROS: u64 = 200;
/// Who moves the history on, and is never killed.
pub const DIRECTOR: usize = 0;

thread_local! {
    static PARTY: Cell<usize> = const { Cell::new(DIRECTOR) };
}

/// What unwinds the threads of a process that is killed.
struct Killed;

/// A process of the history: what dies together.
#[derive(Clone, Default)]
pub struct Process {
    pub dead: bool,
    /// Calls to the outside until it is killed.
    pub dies_after: Option<u32>,
    pub frozen_until: Duration,
    /// Since it says nothing to the group any more.
    pub silent_since: Option<Duration>,
}

struct Party {
    process: usize,
    thread: Thread,
    /// None: it is done.
    wakes: Option<Duration>,
}

struct Inner {
    now: Duration,
    rng: fastrand::Rng,
    parties: Vec<Party>,
    processes: Vec<Process>,
    /// The first panic that was none of ours.
    failure: Option<String>,
}

pub struct Turns {
    began: Instant,
    current: AtomicUsize,
    inner: Mutex<Inner>,
}

impl Turns {
    /// The calling thread is the director.
    pub fn begin(seed: u64) -> Arc<Self> {
        let director = Party { process: DIRECTOR, thread: thread::current(), wakes: Some(Duration::ZERO) };
        let inner = Inner {
            now: Duration::ZERO,
            rng: fastrand::Rng::with_seed(seed),
            parties: vec![director],
            processes: vec![Process::default()],
            failure: None,
        };
        PARTY.set(DIRECTOR);
        Arc::new(Self { began: Instant::now(), current: AtomicUsize::new(DIRECTOR), inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }

    pub fn instant(&self) -> Instant {
        self.began + self.now()
    }

    pub fn instant_at(&self, at: Duration) -> Instant {
        self.began + at
    }

    pub fn now(&self) -> Duration {
        self.inner().now
    }

    pub fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.inner().rng)
    }

    pub fn chance(&self, percent: u8) -> bool {
        self.random(|rng| rng.u8(..100) < percent)
    }

    pub fn process(&self, number: usize) -> Process {
        self.inner().processes[number].clone()
    }

    pub fn change_process(&self, number: usize, change: impl FnOnce(&mut Process)) {
        change(&mut self.inner().processes[number]);
    }

    pub fn new_process(&self) -> usize {
        let mut inner = self.inner();
        inner.processes.push(Process::default());
        inner.processes.len() - 1
    }

    /// Whether none of its threads runs any more, and what they held is free.
    pub fn over(&self, process: usize) -> bool {
        self.inner().parties.iter().all(|party| party.process != process || party.wakes.is_none())
    }

    pub fn failure(&self) -> Option<String> {
        self.inner().failure.clone()
    }

    /// Runs a thread of a process.
    pub fn spawn(self: &Arc<Self>, process: usize, work: impl FnOnce() + Send + 'static) {
        let turns = Arc::clone(self);
        let mut inner = self.inner();
        let number = inner.parties.len();
        let spawned = thread::spawn(move || {
            PARTY.set(number);
            turns.wait(number);
            let ended = catch_unwind(AssertUnwindSafe(|| {
                turns.die_if_killed();
                work();
            }));
            turns.done(number, ended.err());
        });
        let wakes = Some(inner.now);
        inner.parties.push(Party { process, thread: spawned.thread().clone(), wakes });
    }

    /// A call to the outside: it takes a moment, the turn may end, and the process may die.
    pub fn step(&self) {
        if thread::panicking() {
            return;
        }
        let me = PARTY.get();
        let mut inner = self.inner();
        let took = inner.rng.u64(1..=CALL_MICROS);
        inner.now += Duration::from_micros(took);
        let process = inner.parties[me].process;
        let now = inner.now;
        if let Some(left) = &mut inner.processes[process].dies_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                inner.kill(process, now);
            }
        }
        inner.parties[me].wakes = Some(now);
        let next = if inner.rng.u8(..10) < TURNS_OF_TEN || inner.frozen(me) { inner.next() } else { me };
        self.hand_over(inner, me, next);
    }

    pub fn sleep(&self, pause: Duration) {
        if thread::panicking() {
            return;
        }
        let me = PARTY.get();
        let mut inner = self.inner();
        inner.parties[me].wakes = Some(inner.now + pause);
        let next = inner.next();
        self.hand_over(inner, me, next);
    }

    fn hand_over(&self, inner: MutexGuard<'_, Inner>, me: usize, next: usize) {
        if next == me {
            drop(inner);
        } else {
            self.current.store(next, Ordering::Release);
            let thread = inner.parties[next].thread.clone();
            drop(inner);
            thread.unpark();
            self.wait(me);
        }
        self.die_if_killed();
    }

    fn wait(&self, me: usize) {
        while self.current.load(Ordering::Acquire) != me {
            thread::park();
        }
    }

    fn die_if_killed(&self) {
        let inner = self.inner();
        if inner.processes[inner.parties[PARTY.get()].process].dead {
            drop(inner);
            resume_unwind(Box::new(Killed));
        }
    }

    fn done(&self, me: usize, panic: Option<Box<dyn Any + Send>>) {
        let mut inner = self.inner();
        inner.parties[me].wakes = None;
        if let Some(panic) = panic.filter(|panic| !panic.is::<Killed>()) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            inner.failure.get_or_insert(text.unwrap_or_else(|| "a thread panicked".to_owned()));
        }
        let next = inner.next();
        self.current.store(next, Ordering::Release);
        inner.parties[next].thread.unpark();
    }
}

impl Inner {
    fn kill(&mut self, process: usize, now: Duration) {
        seen(Seen::Killed);
        let killed = &mut self.processes[process];
        if killed.frozen_until <= now {
            killed.silent_since = Some(now);
        }
        (killed.dead, killed.dies_after, killed.frozen_until) = (true, None, Duration::ZERO);
        for party in self.parties.iter_mut().filter(|party| party.process == process && party.wakes.is_some()) {
            party.wakes = Some(now);
        }
    }

    fn frozen(&self, party: usize) -> bool {
        self.processes[self.parties[party].process].frozen_until > self.now
    }

    /// When a party can go on. None: never.
    fn ready_at(&self, party: &Party) -> Option<Duration> {
        Some(party.wakes?.max(self.processes[party.process].frozen_until))
    }

    /// One of those that can go on; time passes until there is one. The director is always there.
    fn next(&mut self) -> usize {
        let earliest = self.parties.iter().filter_map(|party| self.ready_at(party)).min();
        self.now = self.now.max(earliest.unwrap_or_default());
        let ready: Vec<usize> = (0..self.parties.len())
            .filter(|number| self.ready_at(&self.parties[*number]).is_some_and(|at| at <= self.now))
            .collect();
        ready[self.rng.usize(..ready.len())]
    }
}
