//! A next hop that records which numbered messages it took, and that a test can hold before its final 250.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;
use super::numbered;

/// A message that was answered with 250.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub number: u64,
    /// What the sink's stamp said right before the 250.
    pub stamp: u64,
    /// Counted from the sink's start.
    pub connection: usize,
}

#[derive(Default)]
struct State {
    /// How often each (number, epoch) came.
    taken: BTreeMap<(u64, u32), u32>,
    deliveries: Vec<Delivery>,
    accepted: usize,
    damaged: Vec<String>,
    /// What a connection belongs to: the test counts it up when the sender has been killed.
    epoch: u32,
    connections: usize,
    /// Messages whose end has come and whose 250 is held back.
    held: usize,
    is_holding: bool,
}

/// Tells when something happened, by whatever the test counts.
pub type Stamp = Box<dyn Fn() -> u64 + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stamp: Stamp,
}

pub struct Sink {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Sink {
    pub fn start() -> Self {
        Self::stamping(Box::new(|| 0))
    }

    /// One that asks `stamp` before each 250.
    pub fn stamping(stamp: Stamp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            stamp,
        });
        std::thread::spawn({
            let shared = shared.clone();
            move || {
                // Ends with the test's process.
                for stream in listener.incoming().flatten() {
                    let shared = shared.clone();
                    let from = shared.update(|state| {
                        state.connections += 1;
                        state.accepted += 1;
                        (state.epoch, state.accepted)
                    });
                    std::thread::spawn(move || {
                        // A lost connection is what the tests are about.
                        let _ = session(stream, &shared, from);
                        shared.update(|state| state.connections -= 1);
                    });
                }
            }
        });
        Self { port, shared }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on final replies wait for `go_on`.
    pub fn hold(&self) {
        self.shared.update(|state| state.is_holding = true);
    }

    pub fn go_on(&self) {
        self.shared.update(|state| state.is_holding = false);
    }

    /// Waits until a message has come whole and its reply is held back.
    #[track_caller]
    pub fn wait_held(&self) {
        self.shared.wait("a held message", |state| state.held > 0);
    }

    /// After the sender was killed: waits until its connections have ended, then counts the epoch up.
    #[track_caller]
    pub fn next_epoch(&self) {
        self.shared
            .wait("the killed sender's connections", |state| {
                state.connections == 0
            });
        self.shared.update(|state| state.epoch += 1);
    }

    /// Waits until all of these have come, in whatever epoch.
    #[track_caller]
    pub fn wait_taken(&self, numbers: &[u64]) {
        let missing = |state: &State| -> Vec<u64> {
            let is_missing = |number: &&u64| {
                state
                    .taken
                    .range((**number, 0)..=(**number, u32::MAX))
                    .next()
                    .is_none()
            };
            numbers.iter().filter(is_missing).copied().collect()
        };
        let state = self.shared.state.lock().expect("no session panics");
        let changed = &self.shared.changed;
        let (state, _) = changed
            .wait_timeout_while(state, PATIENCE, |state| !missing(state).is_empty())
            .expect("as above");
        let missing = missing(&state);
        assert!(
            missing.is_empty(),
            "{} acknowledged messages did not arrive: {missing:?}",
            missing.len()
        );
    }

    /// Messages that came twice in one epoch, and those that were not as sent.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.update(|state| {
            let doubles = state.taken.iter().filter(|(_, times)| **times > 1);
            let doubles = doubles.map(|((number, epoch), times)| {
                format!("{number} came {times} times in epoch {epoch}")
            });
            doubles.chain(state.damaged.iter().cloned()).collect()
        })
    }

    pub fn count(&self) -> usize {
        self.shared.update(|state| state.taken.len())
    }

    /// All that was answered with 250, in that order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.update(|state| state.deliveries.clone())
    }

    /// Waits for so many deliveries since the last call of this, and gives them.
    #[track_caller]
    pub fn take_deliveries(&self, count: usize) -> Vec<Delivery> {
        let what = format!("{count} deliveries");
        self.shared
            .wait(&what, |state| state.deliveries.len() >= count);
        self.shared
            .update(|state| std::mem::take(&mut state.deliveries))
    }

    /// Messages that came again though the 250 of an earlier time must have been recorded: its connection brought another
    /// message after it.
    pub fn repeated(&self) -> Vec<u64> {
        let deliveries = self.deliveries();
        let mut last = BTreeMap::new();
        for (at, delivery) in deliveries.iter().enumerate() {
            last.insert(delivery.connection, at);
        }
        let mut recorded = BTreeSet::new();
        let mut repeated = Vec::new();
        for (at, delivery) in deliveries.iter().enumerate() {
            if recorded.contains(&delivery.number) {
                repeated.push(delivery.number);
            }
            if last[&delivery.connection] != at {
                recorded.insert(delivery.number);
            }
        }
        repeated
    }
}

impl Shared {
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.state.lock().expect("no session panics"));
        self.changed.notify_all();
        value
    }

    #[track_caller]
    fn wait(&self, what: &str, ready: impl Fn(&State) -> bool) {
        let state = self.state.lock().expect("no session panics");
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !ready(state))
            .expect("as above");
        assert!(ready(&state), "not within {PATIENCE:?}: {what}");
    }

    fn take(&self, message: &[u8], (epoch, connection): (u32, usize)) {
        self.update(|state| state.held += 1);
        let state = self.state.lock().expect("no session panics");
        let mut state = self
            .changed
            .wait_while(state, |state| state.is_holding)
            .expect("as above");
        state.held -= 1;
        match numbered::verify(message) {
            Ok(number) => {
                *state.taken.entry((number, epoch)).or_default() += 1;
                let stamp = (self.stamp)();
                state.deliveries.push(Delivery {
                    number,
                    stamp,
                    connection,
                });
            }
            Err(damage) => state.damaged.push(damage),
        }
        self.changed.notify_all();
    }
}

fn session(stream: TcpStream, shared: &Shared, from: (u32, usize)) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut reply: &[u8] = b"220 sink ESMTP\r\n";
    loop {
        stream.get_mut().write_all(reply)?;
        line.clear();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        reply = match &verb[..] {
            b"EHLO" => b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
            b"MAIL" | b"RCPT" | b"RSET" | b"NOOP" | b"HELO" => b"250 2.0.0 ok\r\n",
            b"DATA" => {
                stream.get_mut().write_all(b"354 go on\r\n")?;
                let message = data(&mut stream)?;
                shared.take(&message, from);
                b"250 2.0.0 taken\r\n"
            }
            b"QUIT" => return stream.get_mut().write_all(b"221 2.0.0 bye\r\n"),
            _ => b"500 5.5.1 unknown\r\n",
        };
    }
}

/// The message, its dots removed.
fn data(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let start = message.len();
        if stream.read_until(b'\n', &mut message)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if message[start..] == *b".\r\n" {
            message.truncate(start);
            return Ok(message);
        }
        if message[start] == b'.' {
            message.remove(start);
        }
    }
}
