//! A plain SMTP client that a test leads word by word.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;

pub struct Client {
    stream: BufReader<TcpStream>,
}

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

    fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
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
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            // A close with unread bytes on the other side is a reset.
            Err(e) if e.kind() != io::ErrorKind::ConnectionReset => Err(e),
            _ => Ok(String::from_utf8_lossy(&rest).into_owned()),
        }
    }
}
