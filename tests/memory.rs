//! The second promise: with every session taken, by clients in the middle of data, commands, handshakes and what TLS lets
//! them send, memory stays below the ceiling that was printed at boot, and the next client gets a clear 4xx.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rustls::pki_types::ServerName;
use async_rustls::rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use async_rustls::rustls::{
    ClientConnection, ConnectionTrafficSecrets as Secrets, ContentType, ProtocolVersion,
    StreamOwned, SupportedCipherSuite,
};
use facteur::limits;
use support::facteur::Facteur;
use support::smtp::Client;
use support::{Folder, PATIENCE, free_port, socket_from, until};

const SESSIONS: usize = 256;
/// Where trusted clients come from, for whom some of the slots are kept; strangers have the rest.
const TRUSTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The address of the client that takes this slot.
fn source(slot: usize) -> Ipv4Addr {
    match slot < limits::SLOTS_FOR_TRUSTED {
        true => TRUSTED,
        false => STRANGER,
    }
}

/// The greatest values of one process's memory that were seen, in KiB.
#[derive(Debug, Default)]
struct Memory {
    /// What it allocated: heap and stacks.
    anonymous: u64,
    /// That, and the pages of its program and files that are in memory.
    resident: u64,
}

impl Memory {
    fn see(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.expect("a line of numbers").parse().expect("KiB")
        };
        self.anonymous = self.anonymous.max(kib("RssAnon:"));
        self.resident = self.resident.max(kib("VmRSS:"));
    }
}

/// The N of `memory ceiling N KiB`.
fn ceiling(facteur: &Facteur) -> u64 {
    let line = facteur.wait_log(&["memory ceiling"]);
    let behind = line.split("memory ceiling ").nth(1);
    let number = behind.and_then(|rest| rest.split(' ').next());
    number.expect("a number").parse().expect("KiB")
}

/// In the middle of a message that has filled its first part and most of a second.
fn in_data(source: Ipv4Addr, port: u16) -> Client {
    let mut client = Client::dial_from(source, port).expect("a connection");
    client.expect("220").expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client.say("MAIL FROM:<a@b.test>", "250").expect("MAIL");
    client.say("RCPT TO:<c@in.test>", "250").expect("RCPT");
    client.say("DATA", "354").expect("DATA");
    let line = ["x".repeat(76), "\r\n".into()].concat();
    client.send(line.repeat(400).as_bytes()).expect("31 KB");
    client
}

/// In the middle of a command line, as long as one may be.
fn in_command(port: u16) -> Client {
    let mut client = Client::connect(port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client.send(&b"x".repeat(2_000)).expect("half a line");
    client
}

/// In the middle of a ClientHello: the record's frame promises 16 KiB, and all but the end of them has come.
fn in_handshake(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let record = [0x16, 3, 1, 0x40, 0]; // a handshake, TLS 1.0 as first records say, 16,384 octets
    let hello = [1, 0, 0x3f, 0xfc, 3, 3]; // a ClientHello, 16,380 octets, TLS 1.2
    let sent = stream.write_all(&[&record[..], &hello, &[0x5a; 16_000]].concat());
    sent.expect("half a ClientHello");
    stream
}

/// Inside TLS, behind these commands, once this reply to them has come.
fn in_tls(
    source: Ipv4Addr,
    tls_port: u16,
    commands: &str,
    reply: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, tls_port));
    let socket = socket_from(source).expect("a socket");
    rustix::net::connect(&socket, &server).expect("a connection");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut config = (*facteur::tls::client::config()).clone();
    config.enable_secret_extraction = true;
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(commands.as_bytes()).expect("sent");
    let (mut heard, mut buffer) = (String::new(), [0; 4096]);
    while !heard.contains(reply) {
        let octets = stream.read(&mut buffer).expect("a reply");
        assert_ne!(octets, 0, "closed after {heard:?}");
        heard += &String::from_utf8_lossy(&buffer[..octets]);
    }
    stream
}

/// Inside TLS, in the middle of a record of the greatest size.
fn in_record(source: Ipv4Addr, tls_port: u16, commands: &str, reply: &str) -> TcpStream {
    let mut stream = in_tls(source, tls_port, commands, reply);
    let mut record = Vec::new();
    let text = ["x".repeat(76), "\r\n".into()].concat().repeat(210);
    stream
        .conn
        .writer()
        .write_all(text.as_bytes())
        .expect("room");
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut record).expect("memory");
    }
    let half = stream.sock.write_all(&record[..record.len() - 200]);
    half.expect("all but the end of a record");
    stream.sock
}

/// Inside TLS, in the middle of a handshake's message that comes late and goes on for as long as one may: what is to be
/// joined has no other bound than its own.
fn in_late_message(source: Ipv4Addr, tls_port: u16, commands: &str, reply: &str) -> TcpStream {
    let stream = in_tls(source, tls_port, commands, reply);
    let Some(SupportedCipherSuite::Tls13(suite)) = stream.conn.negotiated_cipher_suite() else {
        panic!("TLS 1.3 is to be spoken");
    };
    let secrets = stream.conn.dangerous_extract_secrets();
    let (first, secrets) = secrets.expect("they were to be kept").tx;
    let (Secrets::Aes128Gcm { key, iv }
    | Secrets::Aes256Gcm { key, iv }
    | Secrets::Chacha20Poly1305 { key, iv }) = secrets
    else {
        panic!("a suite of no kind that is known");
    };
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    let mut message = vec![24, 0, 0xfe, 0xff]; // a KeyUpdate, 65,279 octets
    message.resize(65_000, 0x5a);
    let mut socket = stream.sock;
    let mut record = |part, sequence| {
        let record = OutboundPlainMessage {
            typ: ContentType::Handshake,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(part),
        };
        encrypter.encrypt(record, sequence).expect("room").encode()
    };
    // The key takes sequence numbers from 0 on only; those before the first are used up.
    for sequence in 0..first {
        record(&[], sequence);
    }
    for (part, sequence) in message.chunks(16_384).zip(first..) {
        socket.write_all(&record(part, sequence)).expect("a record");
    }
    socket
}

/// A relay whose slots may be had by one address that it does not trust, all but those that are kept for a trusted one.
fn start(folder: &Folder, tls_port: u16) -> Facteur {
    let listen_tls = format!("127.0.0.1:{tls_port}");
    let keep = format!("in.test=maildir:{}", folder.join("mail").display());
    let sessions = SESSIONS.to_string();
    let flags = [
        ["--listen-tls", &listen_tls],
        ["--domain", &keep],
        ["--sessions", &sessions],
        ["--sessions-per-address", &sessions],
        ["--relay-from", &TRUSTED.to_string()],
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags.concat());
    // The harness's own session has its slot until the server has seen it close.
    facteur.wait_log(&["disconnect"]);
    facteur
}

/// The N of `256 sessions x N`, in KiB.
fn per_session(facteur: &Facteur) -> u64 {
    let line = facteur.wait_log(&["memory ceiling"]);
    let behind = line.split(" sessions x ").nth(1);
    let number = behind.and_then(|rest| rest.split(' ').next());
    number.expect("a number").parse().expect("KiB")
}

/// With every slot taken: the next client is turned away, and memory stays below its ceiling.
#[track_caller]
fn assert_below_the_ceiling(facteur: &Facteur) -> Memory {
    let mut memory = Memory::default();
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(1) {
        memory.see(facteur.pid());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut one_more = Client::dial(facteur.port).expect("a connection");
    one_more.expect("421 4.3.2").expect("turned away");

    let ceiling = ceiling(facteur);
    println!("ceiling {ceiling} KiB, seen {memory:?}");
    assert!(memory.anonymous < ceiling, "{memory:?} above {ceiling} KiB");
    // An unoptimized program is several times as large as the one that the ceiling is for.
    if !cfg!(debug_assertions) {
        assert!(memory.resident < ceiling, "{memory:?} above {ceiling} KiB");
    }
    memory
}

#[test]
fn memory_stays_below_its_ceiling_with_every_session_taken() {
    let (folder, tls_port) = (Folder::new(), free_port());
    let facteur = start(&folder, tls_port);
    let port = facteur.port;
    // The handshakes last, of which the first hold the turns for 5 seconds only; patience with commands is 10 seconds
    // once 90 % of the slots are taken.
    let (third, rest) = (SESSIONS / 3, SESSIONS - 2 * (SESSIONS / 3));
    let mut data: Vec<_> = (0..rest).map(|slot| in_data(source(slot), port)).collect();
    let mut commands: Vec<_> = (0..third).map(|_| in_command(port)).collect();
    let handshakes: Vec<_> = (0..third).map(|_| in_handshake(tls_port)).collect();
    assert_below_the_ceiling(&facteur);

    // They were sessions in good order: a command and a message come to their ends.
    let command = commands.last_mut().expect("a session");
    command.say("", "500").expect("an answer");
    let message = data.last_mut().expect("a session");
    message.say(".", "250 2.0.0 Ok: queued").expect("kept");
    drop((data, handshakes, commands));
    until("the slots come back", || Client::connect(port).ok());
    facteur.stop();
}

#[test]
fn memory_stays_below_its_ceiling_with_every_session_inside_a_tls_record() {
    every_session_in_tls(in_record);
}

#[test]
fn memory_stays_below_its_ceiling_with_every_session_inside_a_late_handshake_message() {
    every_session_in_tls(in_late_message);
}

fn every_session_in_tls(inside: fn(Ipv4Addr, u16, &str, &str) -> TcpStream) {
    let (folder, tls_port) = (Folder::new(), free_port());
    let facteur = start(&folder, tls_port);
    let hello = "EHLO client.test\r\n";
    let envelope = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@in.test>\r\nDATA\r\n";
    let data = [hello, envelope].concat();
    let session = |number: usize| match number % 2 {
        0 => inside(source(number / 2), tls_port, &data, "354 "),
        _ => inside(STRANGER, tls_port, hello, "250 "),
    };
    // Those in data first, for the others' patience.
    let sessions = (0..SESSIONS).step_by(2).chain((1..SESSIONS).step_by(2));
    let mut before = Memory::default();
    before.see(facteur.pid());
    let taken: Vec<_> = sessions.map(session).collect();
    let memory = assert_below_the_ceiling(&facteur);
    let each = (memory.anonymous - before.anonymous) / SESSIONS as u64;
    let ceiling = per_session(&facteur);
    println!("a session {each} KiB, its ceiling {ceiling} KiB");
    assert!(each < ceiling, "{each} KiB of {ceiling}");
    drop(taken);
    until("the slots come back", || Client::connect(facteur.port).ok());
    facteur.stop();
}
