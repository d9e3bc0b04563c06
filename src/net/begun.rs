//! A client's connection at the begin of its handshake, whose first message is looked at before rustls has it.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use smol::Async;
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::limits;
use crate::tls::hello::{Seen, look};

/// The socket, and before it what was read of it ahead.
pub(super) struct Begun {
    ahead: Vec<u8>,
    pub socket: Async<TcpStream>,
}

impl Begun {
    /// Nothing was read yet.
    pub fn new(socket: Async<TcpStream>) -> Self {
        let ahead = Vec::new();
        Self { ahead, socket }
    }

    /// Reads until the versions of the client's hello are known, or that rustls must see to it; the version of one that is
    /// too old. The deadline is the caller's.
    pub async fn too_old(&mut self) -> io::Result<Option<u16>> {
        loop {
            match look(&self.ahead) {
                Seen::Part => {}
                Seen::TooOld(version) => return Ok(Some(version)),
                Seen::Other => return Ok(None),
            }
            let known = self.ahead.len();
            if known >= limits::CLIENT_HELLO {
                return Ok(None); // in records of a few octets
            }
            self.ahead.resize(known + limits::CLIENT_HELLO, 0);
            let read = self.socket.read(&mut self.ahead[known..]).await;
            self.ahead.truncate(known + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(None); // its end, which rustls will meet again
            }
        }
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        if self.ahead.is_empty() {
            self.ahead = Vec::new(); // an idle session owns no buffer
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}
