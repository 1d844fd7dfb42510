//! Threads that work on one job at a time, each its part; the calling thread is number 0.
//!
//! Between jobs the helpers sleep. Inside a job they meet at a barrier, where they spin: they meet several times in a
//! step of tens of microseconds, too often to be put to sleep and woken in between.

use std::hint;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// What one thread does of a job.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    thread: usize,
    threads: usize,
    barrier: Option<&'a Barrier>,
}

impl Part<'_> {
    /// This thread's number, from 0.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// Wait for the other threads of the job.
    pub fn meet(&self) {
        if let Some(barrier) = self.barrier {
            barrier.wait();
        }
    }

    /// This thread's share of `0..total`: contiguous, as equal as can be, in multiples of `unit`.
    pub fn share(&self, total: usize, unit: usize) -> Range<usize> {
        let units = total.div_ceil(unit);
        let edge = |thread: usize| (units * thread / self.threads * unit).min(total);
        edge(self.thread)..edge(self.thread + 1)
    }
}

pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    orders: Mutex<Orders>,
    news: Condvar,
    inside: Barrier, // where a job's threads meet
    end: Barrier,    // and where they end it: a job that meets unevenly hangs, and is not left while in use
}

struct Orders {
    number: usize, // of the job
    job: Option<Job>,
    quit: bool,
}

type Work<'a> = dyn Fn(Part) + Sync + 'a;

/// A pointer to a job that `Team::run` keeps alive until all helpers are done with it.
#[derive(Clone, Copy)]
struct Job(*const Work<'static>);

// SAFETY: the job is Sync, and alive as long as helpers use it.
unsafe impl Send for Job {}

impl Team {
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            orders: Mutex::new(Orders { number: 0, job: None, quit: false }),
            news: Condvar::new(),
            inside: Barrier::new(threads),
            end: Barrier::new(threads),
        });
        let helpers = (1..threads)
            .map(|thread| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.help(Part { thread, threads, barrier: Some(&shared.inside) }))
            })
            .collect();
        Self { shared, helpers }
    }

    /// Run `job` on the calling thread alone.
    pub fn alone(job: &Work) {
        job(Part { thread: 0, threads: 1, barrier: None });
    }

    /// Run `job` on every thread, each its part; return when all are done.
    pub fn run(&mut self, job: &Work) {
        if self.helpers.is_empty() {
            return Self::alone(job);
        }
        let bomb = AbortOnPanic;
        {
            let mut orders = self.shared.orders.lock().expect("nobody panics with the lock");
            orders.number += 1;
            // SAFETY: only the lifetime changes: this function does not return, nor unwind, before every helper is
            // done with the job.
            orders.job = Some(Job(unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(job) }));
        }
        self.shared.news.notify_all();
        job(Part { thread: 0, threads: self.helpers.len() + 1, barrier: Some(&self.shared.inside) });
        self.shared.end.wait();
        std::mem::forget(bomb);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.orders.lock().expect("nobody panics with the lock").quit = true;
        self.shared.news.notify_all();
        for helper in self.helpers.drain(..) {
            helper.join().expect("a helper that panics aborts");
        }
    }
}

impl Shared {
    fn help(&self, part: Part) {
        let bomb = AbortOnPanic;
        let mut done = 0;
        loop {
            let job = {
                let orders = self.orders.lock().expect("nobody panics with the lock");
                let orders = self
                    .news
                    .wait_while(orders, |orders| orders.number == done && !orders.quit)
                    .expect("nobody panics with the lock");
                if orders.quit {
                    break;
                }
                done = orders.number;
                orders.job.expect("a job comes with its number")
            };
            // SAFETY: `Team::run` keeps the job alive until this thread is at the end of it, below.
            unsafe { (*job.0)(part) };
            self.end.wait();
        }
        std::mem::forget(bomb);
    }
}

/// Ends the process if a thread unwinds out of a job that others still work on.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Turns of a barrier's loop, about a microsecond of them, before it lets other threads have the core.
const SPINS: u32 = 100;

/// A barrier that spins, and lets others run if it takes long: there may be more threads than cores.
struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    turn: AtomicUsize,
}

impl Barrier {
    fn new(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0), turn: AtomicUsize::new(0) }
    }

    fn wait(&self) {
        let turn = self.turn.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.turn.store(turn.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.turn.load(Ordering::Acquire) == turn {
            if spins < SPINS {
                spins += 1;
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}
