//! A connection's waits and ends, in clear and in TLS: nobody is waited for longer than is left, and last words arrive.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use async_rustls::pki_types::ServerName;
use async_rustls::rustls::{ClientConnection, StreamOwned};
use facteur::net::deadline::within;
use facteur::net::stream::{HandshakeError, Stream};
use facteur::tls;
use smol::Async;
use smol::future::zip;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod certificates;
mod tls_server;

use certificates::made;
use tls_server::Server;

/// A client without TCP_NODELAY holds its first words back until the end of its handshake is acknowledged: the kernel's
/// own delay is 40 ms and more.
#[test]
fn the_first_words_in_tls_do_not_wait_for_a_delayed_ack() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let address = server.address();
    let quickest = (0..5).map(|_| {
        let peer = std::thread::spawn(move || {
            let name = ServerName::try_from("mx.example.org").unwrap();
            let mut connection = ClientConnection::new(tls::client::config(), name).unwrap();
            let mut socket = TcpStream::connect(address).unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).unwrap();
            }
            let began = Instant::now();
            let mut stream = StreamOwned::new(connection, socket);
            stream.write_all(b"EHLO a\r\n").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            began.elapsed()
        });
        smol::block_on(async {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"250 \n").await.unwrap();
            stream.flush().await.unwrap();
        });
        peer.join().unwrap()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_millis(35), "{quickest:?}");
}

#[test]
fn a_handshake_has_the_time_that_is_left_for_it() {
    let server = Server::new(&[("mx.example.org", &made(&["mx.example.org"]))]);
    smol::block_on(async {
        let mut client = Async::<TcpStream>::connect(server.address()).await.unwrap();
        client.write_all(&[22, 3, 1]).await.unwrap();
        let (socket, _) = server.listener.accept().await.unwrap();
        let accept = Stream::new(socket).accept_tls(&server.config, 0, Duration::from_millis(50));
        assert!(matches!(accept.await, Err(HandshakeError::TimedOut)));
    });
}

#[test]
fn a_silent_peer_is_waited_for_without_a_read() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let mut peer = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
    smol::block_on(async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = Stream::new(socket);
        let silent = within(Duration::from_millis(50), stream.wait_readable()).await;
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        peer.write_all(b"EHLO").unwrap();
        let word = &mut [0; 4];
        for _ in 0..2 {
            let spoke = within(Duration::from_secs(60), stream.wait_readable()).await;
            spoke.expect("it stays readable until it is read");
        }
        stream.read_exact(word).await.unwrap();
        assert_eq!(word, b"EHLO");
        drop(peer);
        let gone = within(Duration::from_secs(60), stream.wait_readable()).await;
        gone.expect("an end is readable");
    });
}

#[test]
fn a_peer_that_leaves_in_the_handshake_is_lost() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    drop(TcpStream::connect(server.address()).unwrap());
    let error = smol::block_on(server.accept()).unwrap_err();
    assert!(matches!(error, HandshakeError::Lost(_)), "{error}");
}

#[test]
fn a_closed_stream_gives_all_its_words_and_a_proper_end() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    smol::block_on(async {
        let (served, connected) = server.meet(tls::client::config(), "mx.example.org").await;
        let (mut served, mut connected) = (served.unwrap().0, connected.unwrap());
        // Never read by the server: a plain close would reset the connection.
        connected.write_all(&vec![b'x'; 50_000]).await.unwrap();
        connected.flush().await.unwrap();
        let close = async {
            served.write_all(b"421 4.7.0 Bye\r\n").await.unwrap();
            served.close().await;
        };
        let read = async {
            let mut answer = Vec::new();
            // Without close_notify this is an error of kind UnexpectedEof.
            connected.read_to_end(&mut answer).await.unwrap();
            drop(connected);
            answer
        };
        let (_, answer) = zip(close, read).await;
        assert_eq!(answer, b"421 4.7.0 Bye\r\n");
    });
}

#[test]
fn a_last_reply_in_clear_ends_in_an_end_and_no_reset() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(&vec![b'x'; 300_000]).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        // Not reset yet: a peer that goes on writing first reads the reply later.
        socket.write_all(b"QUIT\r\n").unwrap();
        answer
    });
    smol::block_on(async {
        let (socket, _) = listener.accept().await.unwrap();
        // Something is unread when the last reply is written.
        socket.readable().await.unwrap();
        let mut served = Stream::new(socket);
        served.write_all(b"421 4.3.2 Busy\r\n").await.unwrap();
        served.close().await;
    });
    assert_eq!(peer.join().unwrap(), b"421 4.3.2 Busy\r\n");
}
