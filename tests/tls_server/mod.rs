//! facteur's side of handshakes, on a loopback socket.

#![allow(dead_code)] // each user takes its part

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_rustls::pki_types::ServerName;
use async_rustls::rustls::ClientConfig;
use async_rustls::{TlsConnector, client::TlsStream};
use facteur::net::stream::{HandshakeError, Stream};
use facteur::tls::table::COMPILED;
use facteur::tls::{self, Established, Found, Table};
use smol::Async;
use smol::future::zip;

use crate::certificates::{Folder, Made};

/// A server for the certificates of a folder.
pub struct Server {
    pub config: Arc<tls::server::Config>,
    pub listener: Async<TcpListener>,
    _certs: Folder,
}

impl Server {
    pub fn new(lineages: &[(&str, &Made)]) -> Self {
        let certs = Folder::new();
        for (name, made) in lineages {
            certs.lineage(name, made);
        }
        let dirs: Vec<PathBuf> = vec![certs.path().into()];
        let table = Table::load(
            &COMPILED,
            &Found::now(&COMPILED, &dirs),
            None,
            "relay.invalid",
        )
        .unwrap();
        Self {
            config: tls::server::config(Arc::new(table), None),
            listener: Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap(),
            _certs: certs,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.get_ref().local_addr().unwrap()
    }

    pub async fn accept(&self) -> Result<(Stream, Established), HandshakeError> {
        let (socket, _) = self.listener.accept().await.unwrap();
        Stream::new(socket)
            .accept_tls(&self.config, 0, Duration::from_secs(20))
            .await
    }

    /// One handshake with a client of `config`; what each side made of it.
    pub async fn meet(
        &self,
        config: Arc<ClientConfig>,
        name: &str,
    ) -> (
        Result<(Stream, Established), HandshakeError>,
        io::Result<TlsStream<Async<TcpStream>>>,
    ) {
        let name = ServerName::try_from(name.to_string()).unwrap();
        zip(self.accept(), async {
            let socket = Async::<TcpStream>::connect(self.address()).await?;
            TlsConnector::from(config).connect(name, socket).await
        })
        .await
    }
}
