//! A DNS server for tests, on loopback, by UDP and TCP on one port: it answers from a few lines of text, and misbehaves
//! on request.
//!
//! ```text
//! example.test      MX    10 mx.example.test
//! mx.example.test   A     127.0.0.1
//! www.example.test  CNAME mx.example.test
//! _25._tcp.mx.test   TLSA  3 1 1 0a0b0c           # hexadecimal, of any length
//! long.test         TXT   two strings            # of one record
//! exists.test       -                            # a name without records
//! broken.test       does  servfail
//! half.test         AAAA  does servfail          # only when asked for that type
//! *                 does  no-edns                # whatever the name
//! ```
//!
//! A name that no line holds is NXDOMAIN; names are absolute, without their last dot. Records have a TTL of 60 seconds,
//! answers without any an SOA that allows 30. What a name `does`:
//!
//! - `servfail`, `refused`: that answer;
//! - `silent`: no answer;
//! - `garbage`: octets that are no message; `malformed`: the right header and question, then octets that are no records;
//! - `wrong-id`, `wrong-question`, `wrong-source`: first a lie (192.0.2.66, `evil.test`) that should not be believed,
//!   for that reason, then the truth;
//! - `out-of-order`: first the answer to a question asked earlier; `flood`: by UDP two hundred lies with wrong ids before the
//!   truth;
//! - `lies`: only the lie with the wrong id;
//! - `truncate`: cut by UDP, whole by TCP; `tcp-truncate`: cut by both; `tcp-silent`: cut by UDP, no answer by TCP;
//! - `tcp-cut`, `tcp-trickle`: cut by UDP, by TCP half the answer, or an octet now and then;
//! - `pointer-loop`: an answer whose names point at themselves; `claims`: one that claims 10,000 records more than it has;
//! - `validated`: with the AD bit; `no-soa`: nothing says how long there is none;
//! - `no-edns`: FORMERR to questions with EDNS;
//! - `referral`: empty and without recursion, as from a server that does not look up for us;
//! - `no-chase`: only the first CNAME of a chain is in the answer.

#![allow(dead_code, reason = "each test uses a part of it")]

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, Rtype, Serial, Ttl, UnknownRecordData};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Mx, Soa, Txt};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

type OwnName = Name<Vec<u8>>;
type Data = AllRecordData<Vec<u8>, OwnName>;

/// Runs until it is dropped.
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<Vec<String>>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Zone {
    names: Vec<OwnName>,
    records: Vec<(OwnName, Data)>,
    deeds: Vec<Deed>,
}

/// A behaviour, and to which questions it is shown; None is any.
struct Deed {
    owner: Option<OwnName>,
    rtype: Option<Rtype>,
    deed: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

struct Question {
    id: u16,
    name: OwnName,
    rtype: Rtype,
    edns: bool,
    room: usize,
}

impl DnsServer {
    /// Serves the zone on a free port of 127.0.0.1.
    pub fn start(zone: &str) -> Self {
        // A free port for UDP may be taken for TCP.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a free port");
        let address = udp.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        *shared.zone.lock().unwrap() = Zone::read(zone);
        let (for_udp, for_tcp) = (shared.clone(), shared.clone());
        let threads = vec![
            std::thread::spawn(move || serve_udp(&udp, &for_udp)),
            std::thread::spawn(move || serve_tcp(&tcp, &for_tcp)),
        ];
        Self {
            address,
            shared,
            threads,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves another zone from now on.
    pub fn set_zone(&self, zone: &str) {
        *self.shared.zone.lock().unwrap() = Zone::read(zone);
    }

    /// What was asked so far, as `MX example.test` or `MX example.test by TCP`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.address);
        }
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let other_port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut buffer = [0; 4096];
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let Some(question) = Question::read(&buffer[..length], Transport::Udp) else {
            continue;
        };
        let zone = shared.zone.lock().unwrap();
        shared.note(&question, Transport::Udp);
        if zone.does(&question, "wrong-source") {
            other_port.send_to(&question.lie(), client).unwrap();
        }
        for answer in zone.answers(&question, Transport::Udp) {
            socket.send_to(&answer, client).unwrap();
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Shared) {
    let mut kept_waiting = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((mut stream, _)) = listener.accept() else {
            continue;
        };
        if serve_connection(&mut stream, shared).is_none() {
            kept_waiting.push(stream);
        }
    }
}

/// None where the client is left without an answer.
fn serve_connection(stream: &mut TcpStream, shared: &Shared) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut octets).ok()?;
    let question = Question::read(&octets, Transport::Tcp)?;
    let answers = {
        let zone = shared.zone.lock().unwrap();
        shared.note(&question, Transport::Tcp);
        zone.answers(&question, Transport::Tcp)
    };
    let does = |deed| shared.zone.lock().unwrap().does(&question, deed);
    let answer = answers.last()?;
    let length = u16::try_from(answer.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).ok()?;
    if does("tcp-cut") {
        return stream.write_all(&answer[..answer.len() / 2]).ok();
    }
    if does("tcp-trickle") {
        for octet in answer {
            stream.write_all(&[*octet]).ok()?;
            std::thread::sleep(Duration::from_millis(40));
        }
        return Some(());
    }
    stream.write_all(answer).ok()
}

impl Shared {
    fn note(&self, question: &Question, transport: Transport) {
        let by = match transport {
            Transport::Udp => "",
            Transport::Tcp => " by TCP",
        };
        let line = format!("{} {}{by}", question.rtype, question.name);
        self.asked.lock().unwrap().push(line);
    }
}

impl Zone {
    fn read(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [owner, "does", deed] => zone.add_deed(owner, None, deed),
                [owner, rtype, "does", deed] => {
                    zone.add_deed(owner, Some(rtype.parse().unwrap()), deed);
                }
                [owner, "-"] => zone.names.push(name(owner)),
                [owner, rtype, ref rest @ ..] => {
                    let data = record_data(rtype, rest).unwrap_or_else(|| panic!("{line:?}"));
                    zone.names.push(name(owner));
                    zone.records.push((name(owner), data));
                }
                _ => panic!("{line:?} is no line of a zone"),
            }
        }
        zone
    }

    fn add_deed(&mut self, owner: &str, rtype: Option<Rtype>, deed: &str) {
        let owner = (owner != "*").then(|| name(owner));
        self.names.extend(owner.clone());
        self.deeds.push(Deed {
            owner,
            rtype,
            deed: deed.into(),
        });
    }

    fn does(&self, question: &Question, deed: &str) -> bool {
        self.deeds.iter().any(|known| {
            known.deed == deed
                && known
                    .owner
                    .as_ref()
                    .is_none_or(|owner| *owner == question.name)
                && known.rtype.is_none_or(|rtype| rtype == question.rtype)
        })
    }

    /// The messages that go out, in this order.
    fn answers(&self, question: &Question, transport: Transport) -> Vec<Vec<u8>> {
        let does = |deed| self.does(question, deed);
        let udp = transport == Transport::Udp;
        if does("silent") || (does("tcp-silent") && !udp) {
            return Vec::new();
        }
        if does("garbage") {
            return vec![b"\xff\xfe no message at all \x00".to_vec()];
        }
        if does("no-edns") && question.edns {
            return vec![question.answer(Rcode::FORMERR, &[])];
        }
        let mut answers = Vec::new();
        if does("flood") && udp {
            let wrong = |step| question.with_id(question.id.wrapping_add(step)).lie();
            answers.extend((1..=200).map(wrong));
        }
        if does("out-of-order") {
            let earlier = question.with_id(question.id.wrapping_add(1));
            answers.push(earlier.about("other.test").lie());
        }
        if does("wrong-id") || does("lies") {
            answers.push(question.with_id(question.id.wrapping_add(1)).lie());
        }
        if does("wrong-question") {
            answers.push(question.about("other.test").lie());
        }
        if !does("lies") {
            answers.push(self.truth(question));
        }
        let by_tcp = ["truncate", "tcp-silent", "tcp-cut", "tcp-trickle"];
        let cut = does("tcp-truncate") || (udp && by_tcp.into_iter().any(does));
        for answer in &mut answers {
            if cut || answer.len() > question.room {
                *answer = question.answer(Rcode::NOERROR, &[]);
                answer[2] |= 0x02;
            }
            if does("referral") {
                *answer = question.answer(Rcode::NOERROR, &[]);
                answer[3] &= 0x7f;
            }
            if does("validated") {
                answer[3] |= 0x20;
            }
            if does("claims") {
                answer[6] += 39;
                answer[7] = answer[7].wrapping_add(16);
            }
            if does("pointer-loop") {
                *answer = question.answer(Rcode::NOERROR, &[]);
                answer[7] = 1;
                let here = 0xc000 | u16::try_from(answer.len()).unwrap();
                answer.extend(here.to_be_bytes());
                answer.extend(b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x42");
            }
            if does("malformed") {
                *answer = question.answer(Rcode::NOERROR, &[]);
                answer[7] = 3;
                answer.extend(b"\xc0\xff not records");
            }
        }
        answers
    }

    fn truth(&self, question: &Question) -> Vec<u8> {
        if self.does(question, "servfail") {
            return question.answer(Rcode::SERVFAIL, &[]);
        }
        if self.does(question, "refused") {
            return question.answer(Rcode::REFUSED, &[]);
        }
        let mut records = Vec::new();
        let mut owner = question.name.clone();
        for _ in 0..16 {
            let of_owner = |rtype| {
                self.records
                    .iter()
                    .filter(|(name, data)| *name == owner && rtype_of(data) == rtype)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            let found = of_owner(question.rtype);
            let alias = of_owner(Rtype::CNAME);
            let Some((_, Data::Cname(next))) = alias.first().filter(|_| found.is_empty()) else {
                records.extend(found);
                break;
            };
            let next = next.cname().clone();
            records.extend(alias);
            if self.does(question, "no-chase") {
                return question.answer(Rcode::NOERROR, &records);
            }
            owner = next;
        }
        let rcode = match self.names.contains(&owner) {
            true => Rcode::NOERROR,
            false => Rcode::NXDOMAIN,
        };
        let found = records
            .last()
            .is_some_and(|(_, data)| rtype_of(data) == question.rtype);
        let soa = !found && !self.does(question, "no-soa");
        question.answer_with(rcode, &records, soa.then(|| soa_above(&owner)))
    }
}

impl Question {
    fn read(octets: &[u8], transport: Transport) -> Option<Self> {
        let message = Message::from_octets(octets).ok()?;
        let question = message.sole_question().ok()?;
        if message.header().qr() || question.qclass() != Class::IN {
            return None;
        }
        let opt = message.opt();
        let room = match (transport, &opt) {
            (Transport::Tcp, _) => 65_535,
            (Transport::Udp, Some(opt)) => usize::from(opt.udp_payload_size()),
            (Transport::Udp, None) => 512,
        };
        Some(Self {
            id: message.header().id(),
            name: name(&question.qname().to_string()),
            rtype: question.qtype(),
            edns: opt.is_some(),
            room,
        })
    }

    fn with_id(&self, id: u16) -> Self {
        Self {
            id,
            name: self.name.clone(),
            ..*self
        }
    }

    fn about(&self, other: &str) -> Self {
        Self {
            name: name(other),
            ..*self
        }
    }

    fn answer(&self, rcode: Rcode, records: &[(OwnName, Data)]) -> Vec<u8> {
        self.answer_with(rcode, records, None)
    }

    fn answer_with(
        &self,
        rcode: Rcode,
        records: &[(OwnName, Data)],
        authority: Option<(OwnName, Data)>,
    ) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(self.id);
        header.set_qr(true);
        header.set_rd(true);
        header.set_ra(true);
        header.set_rcode(rcode);
        let mut builder = builder.question();
        builder.push((&self.name, self.rtype)).unwrap();
        let mut builder = builder.answer();
        for (owner, data) in records {
            builder.push((owner, 60, data)).unwrap();
        }
        let mut builder = builder.authority();
        if let Some((owner, data)) = authority {
            builder.push((owner, 60, data)).unwrap();
        }
        builder.finish()
    }

    fn lie(&self) -> Vec<u8> {
        let data = match self.rtype {
            Rtype::MX => Mx::new(0, name("evil.test")).into(),
            Rtype::AAAA => Aaaa::new("2001:db8::66".parse().unwrap()).into(),
            _ => A::new("192.0.2.66".parse().unwrap()).into(),
        };
        self.answer(Rcode::NOERROR, &[(self.name.clone(), data)])
    }
}

/// The root writes itself as nothing.
fn name(text: &str) -> OwnName {
    Name::vec_from_str(if text.is_empty() { "." } else { text }).unwrap()
}

/// Of the zone that a name's last label names.
fn soa_above(owner: &OwnName) -> (OwnName, Data) {
    let text = owner.to_string();
    let zone = name(text.rsplit('.').next().unwrap());
    let [refresh, retry, expire, minimum] = [3600, 600, 86_400, 30].map(Ttl::from_secs);
    let soa = Soa::new(
        name("ns.test"),
        name("root.test"),
        Serial(1),
        refresh,
        retry,
        expire,
        minimum,
    );
    (zone, soa.into())
}

fn rtype_of(data: &Data) -> Rtype {
    domain::base::RecordData::rtype(data)
}

fn record_data(rtype: &str, words: &[&str]) -> Option<Data> {
    Some(match (rtype, words) {
        ("A", [address]) => A::new(address.parse().ok()?).into(),
        ("AAAA", [address]) => Aaaa::new(address.parse().ok()?).into(),
        ("CNAME", [target]) => Cname::new(name(target)).into(),
        ("TXT", strings) => {
            let framed = strings.iter().flat_map(|string| {
                let length = u8::try_from(string.len()).expect("at most 255 octets");
                [&[length], string.as_bytes()].concat()
            });
            Txt::from_octets(framed.collect::<Vec<u8>>()).ok()?.into()
        }
        ("TLSA", [numbers @ .., data]) => {
            let mut octets: Vec<u8> = numbers.iter().map(|word| word.parse().unwrap()).collect();
            let digits: Vec<char> = data.chars().collect();
            let octet = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
            octets.extend(digits.chunks(2).map(octet));
            UnknownRecordData::from_octets(Rtype::TLSA, octets)
                .ok()?
                .into()
        }
        ("MX", [preference, host]) => Mx::new(preference.parse().ok()?, name(host)).into(),
        _ => return None,
    })
}
