//! A blocking SMTP client that opens STARTTLS sessions, checking nothing but the replies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// No answer within this long is a failure of the run.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Session(StreamOwned<ClientConnection, TcpStream>);

impl Session {
    /// Greeting, EHLO, STARTTLS, the handshake with the server name `sni`, and EHLO inside TLS.
    pub fn open(to: SocketAddr, sni: &str, config: &Arc<ClientConfig>) -> Result<Self, String> {
        Self::try_open(to, sni, config).map_err(|e| format!("session with {to}: {e}"))
    }

    fn try_open(to: SocketAddr, sni: &str, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let mut tcp = TcpStream::connect(to)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        expect_reply(&mut tcp, "220")?;
        tcp.write_all(b"EHLO load.localhost\r\n")?;
        expect_reply(&mut tcp, "250")?;
        tcp.write_all(b"STARTTLS\r\n")?;
        expect_reply(&mut tcp, "220")?;
        let name = ServerName::try_from(sni.to_owned()).map_err(std::io::Error::other)?;
        let connection =
            ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
        let mut tls = StreamOwned::new(connection, tcp);
        tls.write_all(b"EHLO load.localhost\r\n")?;
        expect_reply(&mut tls, "250")?;
        Ok(Self(tls))
    }

    pub fn quit(mut self) -> Result<(), String> {
        self.0
            .write_all(b"QUIT\r\n")
            .and_then(|()| expect_reply(&mut self.0, "221"))
            .map_err(|e| format!("QUIT: {e}"))
    }
}

/// Reads one reply (its last line has a space behind the code) and compares the code.
fn expect_reply(stream: &mut impl Read, code: &str) -> std::io::Result<()> {
    let mut reply = Vec::new();
    let mut chunk = [0; 2048];
    while !is_whole(&reply) {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => reply.extend_from_slice(&chunk[..count]),
        }
    }
    if reply.starts_with(code.as_bytes()) {
        return Ok(());
    }
    Err(std::io::Error::other(format!(
        "{} where {code} was expected",
        reply.escape_ascii()
    )))
}

fn is_whole(reply: &[u8]) -> bool {
    let Some(lines) = reply.strip_suffix(b"\r\n") else {
        return false;
    };
    let last = lines.rsplit(|byte| *byte == b'\n').next();
    last.is_some_and(|line| line.get(3) == Some(&b' '))
}

/// Every session is a full handshake, with whatever certificate.
pub fn config() -> Arc<ClientConfig> {
    let mut config = (*facteur::tls::client::config()).clone();
    config.alpn_protocols = vec![b"smtp".to_vec()];
    Arc::new(config)
}
