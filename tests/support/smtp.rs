//! An SMTP client that a test leads word by word, in clear or in TLS.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_rustls::pki_types::ServerName;
use async_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{PATIENCE, until};

pub struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

/// A connection in TLS.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(port: u16) -> io::Result<Self> {
        let mut client = Self::dial(port)?;
        client.expect("220")?;
        Ok(client)
    }

    /// Connects to an address with its port and reads the greeting.
    pub fn connect_to(address: &str) -> io::Result<Self> {
        let mut client = Self::on(TcpStream::connect(address)?)?;
        client.expect("220")?;
        Ok(client)
    }

    /// Connects.
    pub fn dial(port: u16) -> io::Result<Self> {
        Self::on(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// Connects from this address of the loopback network.
    pub fn dial_from(source: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = super::socket_from(source)?;
        rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Self::on(socket.into())
    }

    fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// STARTTLS and the handshake; `name` (a host's or an address) is what the client takes the server for.
    pub fn starttls(mut self, config: Arc<ClientConfig>, name: &str) -> io::Result<Client<Tls>> {
        self.say("STARTTLS", "220")?;
        self.handshake(config, name)
    }

    /// The handshake, on a port that begins with it.
    pub fn handshake(self, config: Arc<ClientConfig>, name: &str) -> io::Result<Client<Tls>> {
        let mut socket = self.stream.into_inner();
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let stream = BufReader::new(StreamOwned::new(connection, socket));
        Ok(Client { stream })
    }

    /// What comes within this time, if anything does.
    pub fn hear(&mut self, time: Duration) -> Option<String> {
        self.stream.get_ref().set_read_timeout(Some(time)).ok()?;
        let heard = self.reply().ok();
        self.stream
            .get_ref()
            .set_read_timeout(Some(PATIENCE))
            .ok()?;
        heard
    }

    /// Waits until the server has read all that these clients sent: what they send next comes to it in another read. Told
    /// by the kernel's table of connections, in which each has its unacknowledged and its unread octets.
    pub fn wait_read(clients: &[Self]) {
        let port = |address: io::Result<SocketAddr>| format!("{:04X}", address.expect("IP").port());
        until("the server's reads", || {
            let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
            let queues: Vec<_> = table.lines().filter_map(queues).collect();
            let is_empty = |from: &str, to: &str| {
                let its = queues.iter().find(|(ends, _)| *ends == (from, to));
                its.is_some_and(|(_, queues)| *queues == "00000000:00000000")
            };
            let has_read = |client: &Self| {
                let stream = client.stream.get_ref();
                let (own, its) = (port(stream.local_addr()), port(stream.peer_addr()));
                is_empty(&own, &its) && is_empty(&its, &own)
            };
            clients.iter().all(has_read).then_some(())
        });
    }
}

impl Client<Tls> {
    /// What the handshake agreed on.
    pub fn connection(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// One reply, all its lines.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.stream.read_line(&mut reply)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }

    pub fn expect(&mut self, beginning: &str) -> io::Result<String> {
        let reply = self.reply()?;
        if reply.starts_with(beginning) {
            return Ok(reply);
        }
        Err(io::Error::other(format!(
            "{reply:?} where {beginning} was expected"
        )))
    }

    /// Sends a line and expects a reply that begins so.
    pub fn say(&mut self, line: &str, beginning: &str) -> io::Result<String> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.expect(beginning)
    }

    /// A whole transaction; `message` ends in CR LF and has no line that begins with a dot.
    pub fn submit(&mut self, from: &str, to: &str, message: &[u8]) -> io::Result<String> {
        self.say(&format!("MAIL FROM:<{from}>"), "250")?;
        self.say(&format!("RCPT TO:<{to}>"), "250")?;
        self.say("DATA", "354")?;
        self.send(message)?;
        self.say(".", "250")
    }

    /// All that comes until the server closes.
    pub fn rest(&mut self) -> io::Result<String> {
        let rest = self.octets()?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }

    /// The same, where it is no text.
    pub fn octets(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            // A close with unread bytes on the other side is a reset.
            Err(e) if e.kind() != io::ErrorKind::ConnectionReset => Err(e),
            _ => Ok(rest),
        }
    }
}

/// Of a line of the kernel's table: the ports of both ends, and `sent:received`, the octets that wait.
fn queues(line: &str) -> Option<((&str, &str), &str)> {
    let mut words = line.split_whitespace().skip(1);
    let mut port = || words.next()?.split(':').nth(1);
    let ends = (port()?, port()?);
    Some((ends, words.nth(1)?))
}
