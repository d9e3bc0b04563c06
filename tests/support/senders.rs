//! Clients that send without end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sink::Stamp;
use super::smtp::Client;
use super::{PATIENCE, numbered};

/// Sessions that send numbered messages one after another, connect again whenever they lose the relay or are refused, and
/// remember what was answered with 250.
pub struct Senders {
    shared: Arc<State>,
    sessions: Vec<JoinHandle<()>>,
}

/// A message that was answered with 250.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub number: u64,
    /// What the stamp said right after the 250.
    pub stamp: u64,
}

struct State {
    next: AtomicU64,
    stop: AtomicBool,
    pause: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
    grown: Condvar,
    stamp: Stamp,
}

impl Senders {
    pub fn start(port: u16, sessions: usize) -> Self {
        Self::stamping(port, sessions, Box::new(|| 0))
    }

    /// How many were acknowledged so far.
    pub fn count(&self) -> usize {
        let all = self.shared.acknowledged.lock();
        all.expect("no session panics").len()
    }

    /// Asks `stamp` after each 250.
    pub fn stamping(port: u16, sessions: usize, stamp: Stamp) -> Self {
        let shared = Arc::new(State {
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            grown: Condvar::new(),
            stamp,
        });
        let start = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    if shared.session(port).is_err() {
                        // The relay is away, or full, for a moment: that is the test.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        };
        let sessions = (0..sessions).map(start).collect();
        Self { shared, sessions }
    }

    /// Waits for so many more.
    #[track_caller]
    pub fn wait_acknowledged(&self, more: usize) {
        let all = self.shared.acknowledged.lock().expect("no session panics");
        let wanted = all.len() + more;
        let waited = self
            .shared
            .grown
            .wait_timeout_while(all, PATIENCE, |all| all.len() < wanted);
        let count = waited.expect("no session panics").0.len();
        assert!(
            count >= wanted,
            "only {count} of {wanted} messages acknowledged"
        );
    }

    /// The sessions end their transactions and begin no others.
    pub fn pause(&self) {
        self.shared.pause.store(true, Ordering::Relaxed);
    }

    pub fn go_on(&self) {
        self.shared.pause.store(false, Ordering::Relaxed);
    }

    pub fn stop(self) -> Vec<Acknowledged> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for session in self.sessions {
            session.join().expect("no session panics");
        }
        std::mem::take(&mut self.shared.acknowledged.lock().expect("no session panics"))
    }
}

impl State {
    fn session(&self, port: u16) -> io::Result<()> {
        let mut client = Client::connect(port)?;
        client.say("EHLO client.test", "250")?;
        while !self.stop.load(Ordering::Relaxed) {
            if self.pause.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let message = numbered::message(number);
            client.submit("a@client.test", "b@example.test", &message)?;
            let stamp = (self.stamp)();
            let mut all = self.acknowledged.lock().expect("no session panics");
            all.push(Acknowledged { number, stamp });
            drop(all);
            self.grown.notify_all();
        }
        client.say("QUIT", "221").map(drop)
    }
}
