//! One question to one server, by UDP, and by TCP where the answer was cut.

use super::answer::{Heard, Reading};
use super::question::{Edns, Question};
use crate::limits;
use smol::Async;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Ids that nobody outside can guess.
///
/// fastrand seeds itself from the clock and the thread's number, which is no secret; RandomState's keys come from the
/// operating system, and SipHash of a counter under a secret key is as hard to guess as the key.
#[derive(Debug, Default)]
pub(super) struct Ids {
    keys: RandomState,
    used: AtomicU64,
}

impl Ids {
    fn next(&self) -> u16 {
        let count = self.used.fetch_add(1, Ordering::Relaxed);
        let [first, second, ..] = self.keys.hash_one(count).to_be_bytes();
        u16::from_be_bytes([first, second])
    }
}

/// Why a server gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    NoEdns,
    /// What it did, to stand behind its address.
    Useless(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Useless(format!("cannot be asked: {error}"))
    }
}

/// Asks one server; `patience` is for each transport.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Question,
    edns: Edns,
    ids: &Ids,
    patience: Duration,
) -> Result<Heard, Failure> {
    let by_udp = in_time(patience, by_udp(server, question, edns, ids.next())).await?;
    let reading = match by_udp {
        Reading::Truncated => in_time(patience, by_tcp(server, question, edns, ids.next())).await?,
        other => other,
    };
    match reading {
        Reading::Answer(heard) => Ok(heard),
        Reading::NoEdns => Err(Failure::NoEdns),
        Reading::Failed(words) => Err(Failure::Useless(words)),
        Reading::Truncated => Err(Failure::Useless("cuts its answer by TCP too".into())),
        Reading::NotOurs => Err(Failure::Useless("answers another question by TCP".into())),
    }
}

/// Never [`Reading::NotOurs`]: whoever sends a wrong answer first must not keep the right one from us. Who sends many of
/// them is guessing: by TCP there is nothing to guess (RFC 5452 9.3).
async fn by_udp(
    server: SocketAddr,
    question: &Question,
    edns: Edns,
    id: u16,
) -> Result<Reading, Failure> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A socket a question: the kernel picks a random port for it (RFC 5452 9.2), and once it is connected, drops what
    // comes from any other address.
    let socket = Async::<UdpSocket>::bind((any, 0))?;
    socket.get_ref().connect(server)?;
    socket.send(&octets(question, id, edns)?).await?;
    let mut answer = vec![0; limits::DNS_UDP_ANSWER + 1];
    for _ in 0..limits::DNS_WRONG_ANSWERS {
        let length = socket.recv(&mut answer).await?;
        let reading = question.read(id, &answer[..length]);
        match reading {
            Reading::NotOurs => {}
            // Longer than we said, so cut by our buffer.
            _ if length > limits::DNS_UDP_ANSWER => return Ok(Reading::Truncated),
            reading => return Ok(reading),
        }
    }
    Ok(Reading::Truncated)
}

async fn by_tcp(
    server: SocketAddr,
    question: &Question,
    edns: Edns,
    id: u16,
) -> Result<Reading, Failure> {
    let mut stream = Async::<TcpStream>::connect(server).await?;
    // RFC 1035 4.2.2: two octets of length first, in the same segment.
    let octets = octets(question, id, edns)?;
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes()[..], &octets].concat();
    stream.write_all(&framed).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(ended)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > limits::DNS_TCP_ANSWER {
        return Err(Failure::Useless(format!(
            "gives an answer of {length} octets, above {}",
            limits::DNS_TCP_ANSWER
        )));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.map_err(ended)?;
    Ok(question.read(id, &answer))
}

fn ended(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Failure::Useless("ends its answer by TCP before it is whole".into())
        }
        _ => error.into(),
    }
}

fn octets(question: &Question, id: u16, edns: Edns) -> Result<Vec<u8>, Failure> {
    question
        .octets(id, edns)
        .map_err(|error| Failure::Useless(format!("cannot be asked: {error}")))
}

/// Not [`crate::net::deadline::within`]: the work is not I/O's result, and to wrap it would hold its future twice.
async fn in_time<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    smol::future::or(work, async {
        smol::Timer::after(patience).await;
        Err(Failure::Useless(format!(
            "does not answer within {patience:?}"
        )))
    })
    .await
}
