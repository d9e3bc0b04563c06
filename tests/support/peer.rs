//! A next hop for tests, on loopback: it takes everything, but for what its script answers, and tells what it saw.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Runs until it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the peer saw. Connections are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected(usize),
    /// A command line, without its line end.
    Command(usize, String),
    /// A message, whether or not it was taken then.
    Message(Received),
    Closed(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub connection: usize,
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
}

/// What a script wants said.
pub enum Answer {
    Say(&'static str),
    /// Close without a word.
    Close,
    /// Say this, then close.
    SayAndClose(&'static str),
    /// Nothing, until the peer ends.
    Stall,
}

/// Asked with the connection's number and a command line, `GREETING` or `.`; None: as a willing host does.
pub type Script = Box<dyn Fn(usize, &str) -> Option<Answer> + Send + Sync>;

struct Shared {
    script: Script,
    events: Mutex<Vec<Event>>,
    changed: Condvar,
    stop: AtomicBool,
}

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

impl Peer {
    pub fn start(script: impl Fn(usize, &str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(usize, &str) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            events: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, socket) in listener.incoming().enumerate() {
                if of_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || {
                    shared.tell(Event::Connected(number));
                    let _ = converse(&shared, number, socket.unwrap());
                    shared.tell(Event::Closed(number));
                });
            }
        });
        Self { address, shared }
    }

    /// One that takes everything.
    pub fn willing() -> Self {
        Self::start(|_, _| None)
    }

    /// Waits until `find` finds something in all that was seen so far.
    pub fn wait<T>(&self, mut find: impl FnMut(&[Event]) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut events = self.shared.events.lock().unwrap();
        loop {
            if let Some(found) = find(&events) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the peer saw only {events:#?}");
            events = self.shared.changed.wait_timeout(events, left).unwrap().0;
        }
    }

    /// Waits for this many messages.
    pub fn messages(&self, count: usize) -> Vec<Received> {
        self.wait(|events| {
            let found = received(events);
            (found.len() >= count).then_some(found)
        })
    }

    pub fn seen(&self) -> Vec<Event> {
        self.shared.events.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.seen()
            .iter()
            .filter(|event| matches!(event, Event::Connected(_)))
            .count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.shared.changed.notify_all();
    }
}

pub fn received(events: &[Event]) -> Vec<Received> {
    let message = |event: &Event| match event {
        Event::Message(received) => Some(received.clone()),
        _ => None,
    };
    events.iter().filter_map(message).collect()
}

impl Shared {
    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_all();
    }
}

const EHLO: &str =
    "250-peer.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES";

fn converse(shared: &Shared, number: usize, socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut write = socket.try_clone()?;
    let mut read = BufReader::new(socket);
    let asked = |what: &str| (shared.script)(number, what);
    let mut say = |answer: Option<Answer>, usual: &str| -> std::io::Result<bool> {
        let (text, goes_on) = match answer {
            None => (usual, true),
            Some(Answer::Say(text)) => (text, true),
            Some(Answer::SayAndClose(text)) => (text, false),
            Some(Answer::Close) => ("", false),
            Some(Answer::Stall) => {
                let mut events = shared.events.lock().unwrap();
                while !shared.stop.load(Ordering::SeqCst) {
                    events = shared.changed.wait(events).unwrap();
                }
                ("", false)
            }
        };
        if !text.is_empty() {
            write.write_all(format!("{text}\r\n").as_bytes())?;
        }
        if !goes_on {
            write.shutdown(Shutdown::Both)?;
        }
        Ok(goes_on)
    };
    if !say(asked("GREETING"), "220 peer.example")? {
        return Ok(());
    }
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let mut line = String::new();
        if read.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        shared.tell(Event::Command(number, line.to_owned()));
        let upper = line.to_ascii_uppercase();
        let chunk = chunk(&upper, &mut read)?;
        let usual = match upper.as_str() {
            "DATA" if to.is_empty() => "503 5.5.1 no recipients",
            "DATA" => "354 go on",
            _ if chunk.is_some() && to.is_empty() => "503 5.5.1 no recipients",
            _ if chunk.is_some() => "250 2.0.0 taken",
            "QUIT" => "221 2.0.0 bye",
            _ if upper.starts_with("EHLO") => EHLO,
            _ => "250 2.0.0 ok",
        };
        let answer = asked(line);
        let refused = matches!(answer, Some(Answer::Say(text)) if !text.starts_with('2'));
        if let Some(path) = upper.strip_prefix("MAIL FROM:").map(|_| &line[10..]) {
            from = path.split(' ').next().unwrap_or_default().to_owned();
            to.clear();
        } else if let Some(path) = upper.strip_prefix("RCPT TO:").map(|_| &line[8..])
            && !refused
        {
            to.push(path.to_owned());
        }
        if let Some(data) = chunk
            && !to.is_empty()
            && !refused
        {
            let (from, to) = (std::mem::take(&mut from), std::mem::take(&mut to));
            shared.tell(Event::Message(Received {
                connection: number,
                from,
                to,
                data,
            }));
        }
        if !say(answer, usual)? || upper == "QUIT" {
            return Ok(());
        }
        if upper == "DATA" && !to.is_empty() && !refused {
            let data = data(&mut read)?;
            let (from, to) = (std::mem::take(&mut from), std::mem::take(&mut to));
            shared.tell(Event::Message(Received {
                connection: number,
                from,
                to,
                data,
            }));
            if !say(asked("."), "250 2.0.0 taken")? {
                return Ok(());
            }
        }
    }
}

/// The octets behind BDAT, as they came; the whole message.
fn chunk(line: &str, read: &mut impl Read) -> std::io::Result<Option<String>> {
    let size = line
        .strip_prefix("BDAT ")
        .and_then(|rest| rest.strip_suffix(" LAST"));
    let Some(octets) = size.and_then(|size| size.parse().ok()) else {
        return Ok(None);
    };
    let mut text = vec![0; octets];
    read.read_exact(&mut text)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// The message's text as it came, dots removed.
fn data(read: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = Vec::new();
    loop {
        let mut line = Vec::new();
        if read.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
