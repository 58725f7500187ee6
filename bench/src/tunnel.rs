//! The floor: the plainest tunnel that rustls and tokio make. Bytes from standard
//! input to TLS and back, and from TLS to a child's standard input and back.
//!
//! It knows nothing of messages, sequence numbers, policy or audit. What sealwire
//! costs is what it costs above this, so it is built from the same parts: TLS 1.3
//! with certificates on both ends, AES-256-GCM, X25519MLKEM768, a current-thread
//! runtime for the connecting side and a multi-thread one for the serving side,
//! 64 KiB buffers, non-blocking pipes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, copy_bidirectional_with_sizes, join};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Result;
use crate::certificates::SERVER_NAME;

/// Bytes of each buffer.
const BUFFER: usize = 64 * 1024;

/// PEM files of one end.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// CA certificate.
    pub ca: &'a Path,
    /// Own certificate.
    pub cert: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

/// Connects standard input and output with the tunnel's far end, until either is
/// at its end.
///
/// # Errors
/// If a file, the handshake or the connection fails.
pub async fn connect(address: SocketAddr, identity: Identity<'_>) -> Result<()> {
    let (chain, key) = identity.load()?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(identity.roots()?)
        .with_client_auth_cert(chain, key)?;
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
    let input: OwnedFd = own(io::stdin().as_fd())?;
    let output: OwnedFd = own(io::stdout().as_fd())?;
    let local = join(pipe::Receiver::from_owned_fd(input)?, pipe::Sender::from_owned_fd(output)?);
    let remote = TlsConnector::from(Arc::new(config))
        .connect(
            ServerName::try_from(SERVER_NAME)?,
            connection(TcpStream::connect(address).await?)?,
        )
        .await?;
    Ok(copy(local, remote).await?)
}

/// Accepts connections, and connects each with a child of its own. Says
/// `listening address=HOST:PORT` on standard error when ready.
///
/// # Errors
/// If a file is unusable or it cannot listen.
pub async fn serve(identity: Identity<'_>, command: &[String]) -> Result<()> {
    let (chain, key) = identity.load()?;
    let [program, arguments @ ..] = command else { return Err("no command".into()) };
    let verifier =
        WebPkiClientVerifier::builder_with_provider(identity.roots()?.into(), provider())
            .build()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening address={}", listener.local_addr()?);
    loop {
        let (connection, _) = listener.accept().await?;
        let (acceptor, mut command) = (acceptor.clone(), Command::new(program));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        tokio::spawn(async move {
            if let Err(error) = answer(connection, acceptor, command).await {
                eprintln!("connection: {error}");
            }
        });
    }
}

async fn answer(tcp: TcpStream, acceptor: TlsAcceptor, mut command: Command) -> Result<()> {
    let remote = acceptor.accept(connection(tcp)?).await?;
    let mut child = command.spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes".into());
    };
    copy(join(output, ClosedByShutdown(Some(input))), remote).await?;
    child.wait().await?;
    Ok(())
}

/// rustls asks for 4 KiB at a time; reading what there is into a buffer of our own
/// saves it three of four system calls on large results.
fn connection(tcp: TcpStream) -> io::Result<BufReader<TcpStream>> {
    tcp.set_nodelay(true)?;
    Ok(BufReader::with_capacity(BUFFER, tcp))
}

async fn copy<L, R>(mut local: L, mut remote: R) -> io::Result<()>
where
    L: AsyncRead + AsyncWrite + Unpin,
    R: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional_with_sizes(&mut local, &mut remote, BUFFER, BUFFER).await?;
    Ok(())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
}

impl Identity<'_> {
    fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain =
            CertificateDer::pem_file_iter(self.cert)?.collect::<std::result::Result<_, _>>();
        Ok((chain?, PrivateKeyDer::from_pem_file(self.key)?))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca)?)?;
        Ok(roots)
    }
}

/// Closes the pipe on shutdown; tokio's own pipes do so only when dropped, and a
/// child would never see the end of its input.
struct ClosedByShutdown<W>(Option<W>);

impl<W: AsyncWrite + Unpin> ClosedByShutdown<W> {
    fn with<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut W>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Some(writer) => write(Pin::new(writer)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for ClosedByShutdown<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|writer| writer.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|writer| writer.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}
