//! One connection, in clear or in TLS. An upgrade consumes the clear half, so that nothing can be said in clear after it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_rustls::rustls::{self, AlertDescription, ClientConfig, PeerIncompatible};
use async_rustls::{TlsAcceptor, TlsConnector, client, server};
use rustix::io::Errno;
use smol::Async;
use smol::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::begun::Begun;
use super::deadline::within;
use crate::limits;
use crate::tls::Established;
use crate::tls::client::{server_name, sni};
use crate::tls::failure::{self, Failure, Words};
use crate::tls::server::Config;

/// A connection with a peer. Small (24 bytes): what TLS needs is behind a box.
pub struct Stream(Side);

enum Side {
    Plain(Async<TcpStream>),
    Server(Box<server::TlsStream<Begun>>),
    Client(Box<client::TlsStream<Async<TcpStream>>>),
}

/// A handshake under way: boxed apart, so that the task that awaits it keeps no room for it afterwards.
pub type Handshake =
    Pin<Box<dyn Future<Output = Result<(Stream, Established), HandshakeError>> + Send>>;

/// Why there is no TLS. The connection is closed, after its alert; it never goes on in clear.
#[derive(Debug)]
pub enum HandshakeError {
    /// Not done within [`limits::HANDSHAKE`].
    TimedOut,
    /// The peer closed, or the network failed.
    Lost(io::Error),
    /// The protocol failed here, or the peer sent an alert.
    Tls(rustls::Error),
    /// The stream is in TLS already: a fault of the caller.
    AlreadyTls,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The address that it is to come from cannot be used.
    Source(IpAddr, io::Error),
    /// The peer, the way to it, or the time.
    Peer(io::Error),
}

impl ConnectError {
    /// Whether the peer has refused or has not answered: a fault of this machine or its link says nothing of the peer.
    #[must_use]
    pub fn is_the_peer_s(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut};
        let Self::Peer(why) = self else { return false };
        matches!(
            why.kind(),
            ConnectionRefused | ConnectionReset | HostUnreachable | TimedOut
        )
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source, why) => write!(f, "--outbound-address {source}: {why}"),
            Self::Peer(why) => why.fmt(f),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(f, "handshake not done within {:?}", limits::HANDSHAKE),
            Self::Lost(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the peer closed the connection in the handshake")
            }
            Self::Lost(e) => write!(f, "connection lost in the handshake: {e}"),
            Self::Tls(e) => Words(e).fmt(f),
            Self::AlreadyTls => f.write_str("TLS is up already"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl HandshakeError {
    /// Its kind, to be counted.
    pub fn failure(&self) -> Failure {
        match self {
            Self::TimedOut => Failure::Late,
            Self::Lost(_) => Failure::Lost,
            Self::Tls(error) => Failure::of(error),
            Self::AlreadyTls => Failure::Other,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(tls) => Self::Tls(tls),
            Err(lost) => Self::Lost(lost),
        }
    }
}

impl Stream {
    /// A stream in clear over an accepted socket. Replies are small and complete, so they are sent at once.
    pub fn new(socket: Async<TcpStream>) -> Self {
        // It fails on sockets that are closed already, which the next read tells better.
        let _ = socket.get_ref().set_nodelay(true);
        Self(Side::Plain(socket))
    }

    /// Connects to `address`, in clear. The deadline is the caller's: `within(limits::…, Stream::connect(…))`.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Async::<TcpStream>::connect(address).await.map(Self::new)
    }

    /// Connects to `address` from `source`, an address of this machine and of the same family; None: the system chooses. The
    /// deadline is the caller's.
    ///
    /// # Errors
    /// [`ConnectError::Source`] where the fault is not the peer's.
    pub async fn connect_from(
        source: Option<IpAddr>,
        address: SocketAddr,
    ) -> Result<Self, ConnectError> {
        let Some(source) = source else {
            return Self::connect(address).await.map_err(ConnectError::Peer);
        };
        let socket = socket_from(source).map_err(|why| ConnectError::Source(source, why))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::AGAIN) => {}
            Err(problem) => return Err(ConnectError::Peer(problem.into())),
        }
        socket.writable().await.map_err(ConnectError::Peer)?;
        match socket.get_ref().take_error() {
            Ok(None) => Ok(Self::new(socket)),
            Ok(Some(problem)) | Err(problem) => Err(ConnectError::Peer(problem)),
        }
    }

    /// Connects to the Unix socket of this path. The deadline is the caller's.
    pub async fn connect_unix(path: &Path) -> io::Result<Self> {
        let socket = Async::<UnixStream>::connect(path).await?;
        // A listener whose queue is full leaves a socket that is not connected, and no error.
        socket.get_ref().peer_addr()?;
        // To the system both are stream sockets: read, written and shut down by the same calls.
        let socket = TcpStream::from(OwnedFd::from(socket.into_inner()?));
        Async::new(socket).map(Self::new)
    }

    /// Waits until the socket has something to read, or its end; reads nothing. For a stream in clear before its
    /// handshake: what rustls has read ahead of its reader does not count. The deadline is the caller's.
    pub async fn wait_readable(&self) -> io::Result<()> {
        self.socket().readable().await
    }

    /// The accepting side of a handshake at `now` (seconds since 1970, for clients' certificates), within `patience`: what
    /// is left of [`limits::HANDSHAKE`]. On failure the alert is sent and the rest of what the peer says is drained before
    /// the socket closes.
    pub fn accept_tls(self, config: &Arc<Config>, now: u64, patience: Duration) -> Handshake {
        let config = Arc::clone(config);
        let acceptor = TlsAcceptor::from(Arc::clone(config.rustls()));
        Box::pin(async move {
            let accept = accept(acceptor, self.into_plain()?);
            match within(patience, async { Ok(accept.await) }).await {
                Ok(Ok(tls)) => {
                    let (begun, connection) = tls.get_ref();
                    acknowledge(&begun.socket);
                    let established = config.established(connection, now);
                    finished(Self(Side::Server(Box::new(tls))), established)
                }
                Ok(Err((error, socket))) => {
                    alert(&error, &socket).await;
                    Err(failed(error, socket).await)
                }
                Err(_) => Err(HandshakeError::TimedOut),
            }
        })
    }

    /// The connecting side of a handshake, within [`limits::HANDSHAKE`], with `host` (a name or an address) as the
    /// server's name.
    pub fn connect_tls(self, config: &Arc<ClientConfig>, host: &str) -> Handshake {
        let connector = TlsConnector::from(Arc::clone(config));
        let name = server_name(host);
        Box::pin(async move {
            let connect = connector
                .connect(name.clone(), self.into_plain()?)
                .into_fallible();
            match within(limits::HANDSHAKE, async { Ok(connect.await) }).await {
                Ok(Ok(tls)) => {
                    let established = Established::of_client(tls.get_ref().1, sni(&name));
                    finished(Self(Side::Client(Box::new(tls))), established)
                }
                Ok(Err((error, socket))) => Err(failed(error, socket).await),
                Err(_) => Err(HandshakeError::TimedOut),
            }
        })
    }

    /// Ends the connection so that the peer gets all that was written: close_notify in TLS, end of writing, then what the
    /// peer still sends is drained. Takes at most twice [`limits::CLOSE_DRAIN`], whatever the peer does.
    pub async fn close(mut self) {
        let _ = within(limits::CLOSE_DRAIN, AsyncWriteExt::close(&mut self)).await;
        drain(self.socket()).await;
    }

    fn into_plain(self) -> Result<Async<TcpStream>, HandshakeError> {
        match self.0 {
            Side::Plain(socket) => Ok(socket),
            Side::Server(_) | Side::Client(_) => Err(HandshakeError::AlreadyTls),
        }
    }

    fn socket(&self) -> &Async<TcpStream> {
        match &self.0 {
            Side::Plain(socket) => socket,
            Side::Server(tls) => &tls.get_ref().0.socket,
            Side::Client(tls) => tls.get_ref().0,
        }
    }
}

/// The accepting side of a handshake, once the client's hello is seen to be of TLS that rustls has.
async fn accept(
    acceptor: TlsAcceptor,
    socket: Async<TcpStream>,
) -> Result<server::TlsStream<Begun>, (io::Error, Async<TcpStream>)> {
    let mut begun = Begun::new(socket);
    let problem = match begun.too_old().await {
        Ok(None) => {
            let accept = acceptor.accept(begun).into_fallible().await;
            return accept.map_err(|(problem, begun)| (problem, begun.socket));
        }
        Ok(Some(version)) => {
            // Of the client's own version: OpenSSL takes an alert of another one for a wrong record.
            let version = version.clamp(0x0300, 0x0303).to_be_bytes();
            send_alert(AlertDescription::ProtocolVersion, version, &begun.socket).await;
            io::Error::other(rustls::Error::from(PeerIncompatible::Tls12NotOffered))
        }
        Err(lost) => lost,
    };
    Err((problem, begun.socket))
}

fn finished(
    stream: Stream,
    established: Option<Established>,
) -> Result<(Stream, Established), HandshakeError> {
    match established {
        Some(established) => Ok((stream, established)),
        None => Err(HandshakeError::Tls(rustls::Error::HandshakeNotComplete)),
    }
}

/// A socket that is bound to an address of this machine, and no port of it yet.
fn socket_from(source: IpAddr) -> io::Result<Async<TcpStream>> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let family = match source {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    Async::new(TcpStream::from(socket))
}

/// Sends a waiting TCP ACK now. In TLS 1.3 without tickets the server says nothing after the client's last flight, so the
/// kernel delays the ACK; a client without TCP_NODELAY (Python's smtplib) holds its EHLO back until that comes, 40 ms
/// later. The kernel falls back to delayed ACKs by itself, once replies go out.
fn acknowledge(socket: &Async<TcpStream>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // It only saves time: without it, the ACK comes later.
    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = socket;
}

/// Sends a client the alert that rustls leaves out. In clear: what it fails with so happens before keys are in use, but for
/// a client of TLS 1.3 that breaks the rules in cipher, which takes this record for the end as well.
async fn alert(error: &io::Error, socket: &Async<TcpStream>) {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(owed) = tls.and_then(Failure::owed_alert) else {
        return;
    };
    send_alert(owed, [3, 3], socket).await;
}

/// An alert in clear, in a record of this version.
async fn send_alert(
    description: AlertDescription,
    [major, minor]: [u8; 2],
    mut socket: &Async<TcpStream>,
) {
    // Two octets: fatal, and why (RFC 8446 6).
    let record = [21, major, minor, 0, 2, 2, u8::from(description)];
    let _ = within(limits::CLOSE_DRAIN, socket.write_all(&record)).await; // it may be gone
}

/// rustls has written its alert. Unread bytes would turn the close into a reset, which can eat the alert on its way.
async fn failed(error: io::Error, socket: Async<TcpStream>) -> HandshakeError {
    log::debug!("handshake failed detail={:?}", error.to_string());
    let _ = socket.get_ref().shutdown(Shutdown::Write);
    drain(&socket).await;
    error.into()
}

/// Reads and drops what comes until the peer closes, or [`limits::CLOSE_DRAIN`].
async fn drain(mut socket: &Async<TcpStream>) {
    let _ = within(limits::CLOSE_DRAIN, async {
        loop {
            // The buffer lives in one poll: this future waits in many tasks.
            let read =
                poll_fn(|cx| Pin::new(&mut socket).poll_read(cx, &mut [0; limits::DRAIN_CHUNK]));
            if read.await? == 0 {
                return Ok(());
            }
            // A peer that floods must not keep the thread, nor the timer from its turn.
            smol::future::yield_now().await;
        }
    })
    .await;
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Side::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Side::Server(tls) => {
                let read = Pin::new(&mut **tls)
                    .poll_read(cx, buffer)
                    .map_err(failure::in_words);
                // What rustls itself has to say (that it does not renegotiate) would wait for our next words, and a client
                // that waits for it says nothing.
                if read.is_pending() && tls.get_ref().1.wants_write() {
                    let _ = Pin::new(tls).poll_flush(cx); // a failure is the next read's, too
                }
                read
            }
            Side::Client(tls) => Pin::new(tls)
                .poll_read(cx, buffer)
                .map_err(failure::in_words),
        }
    }
}

/// In TLS, what is written may wait in rustls until the flush: flush before waiting for the peer.
impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.0 {
            Side::Plain(socket) => return Pin::new(socket).poll_write(cx, bytes),
            Side::Server(tls) => Pin::new(tls).poll_write(cx, bytes),
            Side::Client(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        written.map_err(failure::in_words)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Side::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Side::Server(tls) => Pin::new(tls).poll_flush(cx),
            Side::Client(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// close_notify in TLS, then the end of writing on the socket.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.0 {
            Side::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Side::Server(tls) => Pin::new(tls).poll_close(cx),
            Side::Client(tls) => Pin::new(tls).poll_close(cx),
        })?;
        Poll::Ready(self.socket().get_ref().shutdown(Shutdown::Write))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Side::Plain(_) => "Stream(clear)",
            Side::Server(_) => "Stream(TLS, accepted)",
            Side::Client(_) => "Stream(TLS, connected)",
        })
    }
}
