//! The least STARTTLS server that smol and futures-rustls allow: what facteur's handshake rate is compared with. Same
//! provider, groups and certificate, one executor on every core; no limits, no deadlines, no table, no log.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use async_rustls::TlsAcceptor;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

static EXECUTOR: smol::Executor<'static> = smol::Executor::new();

pub fn serve(at: &str, chain: &str, key: &str) -> Result<(), String> {
    let at = super::address(at)?;
    let acceptor = TlsAcceptor::from(config(chain, key)?);
    let others = std::thread::available_parallelism().map_or(0, NonZero::get) - 1;
    for _ in 0..others {
        std::thread::spawn(|| smol::block_on(EXECUTOR.run(std::future::pending::<()>())));
    }
    smol::block_on(EXECUTOR.run(accept(at, acceptor))).map_err(|e| format!("{at}: {e}"))
}

async fn accept(at: SocketAddr, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let listener = TcpListener::bind(at).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        // A session that fails shows at the client, which counts.
        EXECUTOR
            .spawn(async move { session(stream, acceptor).await.unwrap_or(()) })
            .detach();
    }
}

fn config(chain: &str, key: &str) -> Result<Arc<ServerConfig>, String> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{chain}: {e}"))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{key}: {e}"))?;
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, key)
        })
        .map_err(|e| format!("{chain}: {e}"))?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"smtp".to_vec()];
    Ok(Arc::new(config))
}

async fn session(mut stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 bare ESMTP\r\n").await?;
    if talk(&mut stream).await? {
        talk(&mut acceptor.accept(stream).await?).await?;
    }
    Ok(())
}

/// Answers until QUIT (false) or STARTTLS (true).
async fn talk(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
    let mut line = [0; 512];
    loop {
        let count = stream.read(&mut line).await?;
        match line.first_chunk::<4>() {
            _ if count == 0 => return Ok(false),
            Some(b"EHLO") => {
                stream
                    .write_all(b"250-bare\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
                    .await?;
            }
            Some(b"STAR") => {
                stream.write_all(b"220 2.0.0 ready\r\n").await?;
                return Ok(true);
            }
            Some(b"QUIT") => {
                stream.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(false);
            }
            _ => stream.write_all(b"500 5.5.1 unknown\r\n").await?,
        }
        stream.flush().await?;
    }
}
