//! A client that is shown a certificate.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use async_rustls::pki_types::ServerName;
use async_rustls::rustls::{ClientConnection, StreamOwned};

use crate::support::PATIENCE;

/// A session in TLS.
pub struct Session(StreamOwned<ClientConnection, TcpStream>);

impl Session {
    /// STARTTLS, asking for `name`.
    #[track_caller]
    pub fn open(port: u16, name: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a session");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut said = [0; 1024];
        for line in ["", "EHLO client.test\r\n", "STARTTLS\r\n"] {
            socket.write_all(line.as_bytes()).expect("sent");
            let octets = socket.read(&mut said).expect("a reply");
            assert!(said[..octets].starts_with(b"2"), "{line}");
        }
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(facteur::tls::client::config(), name);
        Self(StreamOwned::new(connection.expect("a client"), socket))
    }

    /// Says a line, and hears a reply of that code.
    #[track_caller]
    pub fn say(&mut self, line: &str, code: &str) {
        let mut said = [0; 1024];
        self.0
            .write_all(format!("{line}\r\n").as_bytes())
            .expect("in TLS");
        let octets = self.0.read(&mut said).expect("a reply in TLS");
        assert!(said[..octets].starts_with(code.as_bytes()), "{line}");
    }

    /// The certificate that was shown.
    pub fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().expect("shown")[0].to_vec()
    }
}

/// What a client that asks for `name` is shown.
#[track_caller]
pub fn shown(port: u16, name: &str) -> Vec<u8> {
    let mut session = Session::open(port, name);
    session.say("QUIT", "221");
    session.certificate()
}
