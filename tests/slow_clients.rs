//! A thousand clients that are slow on purpose, from many addresses, and that come back as soon as they are thrown out: good
//! clients get their messages through all the same.

mod support;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use facteur::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::{Async, Executor, Timer};
use support::facteur::Facteur;
use support::smtp::Client;
use support::{Folder, PATIENCE, free_port, maildir_messages, socket_from, until};

const SLOW: usize = 1_000;
/// They come from 250 addresses, none of which takes a quarter of the slots.
const ADDRESSES: usize = 250;
/// Between two octets of a slow client, and before it comes again.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two tries of a good client. An MTA has minutes, and days of them.
const RETRY: Duration = Duration::from_millis(200);
/// Within this a good client is served: every slow one is gone after half a minute, and then it is a matter of luck.
const SERVED: Duration = PATIENCE.saturating_mul(2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const TRUSTED: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[derive(Clone, Copy)]
enum Slow {
    /// Says nothing.
    Silent,
    /// A command, octet by octet.
    Command,
    /// A message, octet by octet.
    Data,
    /// Says nothing after DATA.
    SilentData,
    /// The first half of a ClientHello.
    Handshake,
    /// A command that leads nowhere, and another.
    Noop,
    /// One recipient more than a transaction may have, and another.
    Recipient,
    /// A message in chunks of an octet.
    Chunk,
}

struct Attack {
    kinds: &'static [Slow],
    port: u16,
    tls_port: u16,
    sessions: AtomicUsize,
    over: AtomicBool,
}

impl Attack {
    /// One slow client, for ever.
    async fn client(self: Arc<Self>, number: usize, slow: Slow) {
        let host = u8::try_from(number % ADDRESSES).expect("below 250");
        let source = Ipv4Addr::new(127, 0, 2, host);
        loop {
            // Closed, turned away, refused: it comes again.
            let _ = self.session(source, slow).await;
            Timer::after(PAUSE).await;
        }
    }

    async fn session(&self, source: Ipv4Addr, slow: Slow) -> io::Result<()> {
        let port = match slow {
            Slow::Handshake => self.tls_port,
            _ => self.port,
        };
        let socket = socket_from(source)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Err(problem) = rustix::net::connect(&socket, &server)
            && problem != rustix::io::Errno::INPROGRESS
        {
            return Err(problem.into());
        }
        let mut stream = Async::new(TcpStream::from(socket))?;
        stream.writable().await?;
        let opening: &[u8] = match slow {
            Slow::Silent => b"",
            Slow::Command => b"EHLO slow.test",
            Slow::Data | Slow::SilentData => {
                b"EHLO slow.test\r\nMAIL FROM:<a@slow.test>\r\nRCPT TO:<b@in.test>\r\nDATA\r\n"
            }
            Slow::Handshake => &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3],
            Slow::Noop | Slow::Recipient | Slow::Chunk => {
                b"EHLO slow.test\r\nMAIL FROM:<a@slow.test>\r\nRCPT TO:<b@in.test>\r\n"
            }
        };
        stream.write_all(opening).await?;
        if matches!(slow, Slow::Recipient) {
            stream
                .write_all(&b"RCPT TO:<b@in.test>\r\n".repeat(limits::RECIPIENTS))
                .await?;
        }
        let goes_on: &[u8] = match slow {
            Slow::Silent | Slow::SilentData => b"",
            Slow::Command | Slow::Data | Slow::Handshake => b"x",
            Slow::Noop => b"NOOP\r\n",
            Slow::Recipient => b"RCPT TO:<b@in.test>\r\n",
            Slow::Chunk => b"BDAT 1\r\nx",
        };
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut heard = [0; 512];
        loop {
            let pause = async {
                Timer::after(PAUSE).await;
                Ok(usize::MAX)
            };
            match smol::future::or(stream.read(&mut heard), pause).await? {
                0 => return Ok(()),
                usize::MAX => stream.write_all(goes_on).await?,
                _ => {}
            }
        }
    }

    /// All of them, on one thread.
    fn run(self: &Arc<Self>) {
        let executor = Executor::new();
        for (number, slow) in self.kinds.iter().cycle().take(SLOW).enumerate() {
            let client = Arc::clone(self).client(number, *slow);
            executor.spawn(client).detach();
        }
        smol::block_on(executor.run(async {
            while !self.over.load(Ordering::Relaxed) {
                Timer::after(Duration::from_millis(50)).await;
            }
        }));
    }
}

/// The attack ends with the test, however that ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A message from this address, tried again until it is accepted; how many tries that took.
#[track_caller]
fn send(source: Ipv4Addr, port: u16) -> usize {
    let began = Instant::now();
    let mut tries = 1;
    while let Err(problem) = try_to_send(source, port) {
        assert!(
            began.elapsed() < SERVED,
            "{source} is not served within {SERVED:?}, in {tries} tries: {problem}"
        );
        tries += 1;
        std::thread::sleep(RETRY);
    }
    println!(
        "{source} was served after {:?}, {tries} tries",
        began.elapsed()
    );
    tries
}

fn try_to_send(source: Ipv4Addr, port: u16) -> io::Result<String> {
    let mut client = Client::dial_from(source, port)?;
    client.expect("220")?;
    client.say("EHLO good.test", "250")?;
    client.submit("a@good.test", "b@in.test", b"Subject: x\r\n\r\nthrough\r\n")
}

/// Room for the sockets of both sides.
fn raise_the_limit_on_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).expect("up to the maximum");
}

#[test]
fn a_thousand_slow_clients_of_every_kind_keep_no_good_one_from_sending() {
    under_attack_good_clients_are_served(&[
        Slow::Silent,
        Slow::Command,
        Slow::Data,
        Slow::SilentData,
        Slow::Handshake,
    ]);
}

/// Where the deadlines are the longest, by RFC 5321 4.5.3.2.
#[test]
fn a_thousand_slow_clients_in_data_keep_no_good_one_from_sending() {
    under_attack_good_clients_are_served(&[Slow::Data, Slow::SilentData]);
}

/// Whose every command is legal and answered, and in time.
#[test]
fn a_thousand_clients_that_never_come_to_a_message_keep_no_good_one_from_sending() {
    under_attack_good_clients_are_served(&[Slow::Noop, Slow::Recipient]);
}

#[test]
fn a_thousand_clients_with_endless_messages_in_chunks_keep_no_good_one_from_sending() {
    under_attack_good_clients_are_served(&[Slow::Chunk]);
}

fn under_attack_good_clients_are_served(kinds: &'static [Slow]) {
    raise_the_limit_on_open_files();
    let (folder, tls_port) = (Folder::new(), free_port());
    let listen_tls = format!("127.0.0.1:{tls_port}");
    let keep = format!("in.test=maildir:{}", folder.join("mail").display());
    let flags = [
        ["--listen-tls", &listen_tls],
        ["--domain", &keep],
        ["--relay-from", "127.0.0.1/32"],
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags.concat());
    let attack = Arc::new(Attack {
        kinds,
        port: facteur.port,
        tls_port,
        sessions: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    std::thread::scope(|scope| {
        let _over = Over(&attack.over);
        scope.spawn(|| attack.run());
        // The second time, they have all been thrown out or turned away, and have come again.
        for times in [1, 4] {
            until("a full house", || {
                let sessions = attack.sessions.load(Ordering::Relaxed);
                (sessions >= times * SLOW && is_full(facteur.port)).then_some(())
            });
            send(STRANGER, facteur.port);
            assert_eq!(send(TRUSTED, facteur.port), 1, "slots are kept for it");
        }
    });
    until("all four in the Maildir", || {
        (maildir_messages(folder.as_ref()).len() == 4).then_some(())
    });
    facteur.stop();
}

/// Whether one of the slow clients' addresses gets no more sessions.
fn is_full(port: u16) -> bool {
    Client::dial_from(Ipv4Addr::new(127, 0, 2, 0), port)
        .is_ok_and(|mut client| client.expect("421 4.").is_ok())
}
