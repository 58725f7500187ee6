use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sealwire_relay::link::Dialer;
use sealwire_relay::{Connection, Lines};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::Result;
use crate::config::{SecureMcpConfig, ServerRole};
use crate::reach::{Reach, unknown_server};

/// Bytes that may wait between the caller and the link, in each direction.
const STREAM_BUFFER: usize = 256 * 1024;

/// Connects to the MCP servers of a configuration.
///
/// The configuration is taken as it is. Certificates, keys and trust anchors of its entries
/// are read by [`Self::new`], and again when their files have changed by the time of a dial:
/// a manager that lives for long connects with what was renewed meanwhile, and keeps what it
/// has where the new files are not in order. TLS sessions are resumed from one connection to
/// the next.
pub struct SecureMcpConnectionManager {
    config: SecureMcpConfig,
    reaches: BTreeMap<String, Reach>,
}

impl SecureMcpConnectionManager {
    /// Loads what each configured server needs.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn new(config: &SecureMcpConfig) -> Result<Self> {
        let mut reaches = BTreeMap::new();
        for (name, entry) in &config.servers {
            if matches!(entry.role, ServerRole::Connect { .. }) {
                reaches.insert(name.clone(), Reach::configured(config, name, None)?);
            }
        }
        Ok(Self { config: config.clone(), reaches })
    }

    /// Dials `server_addr` (`host:port`) and completes the handshake with the server
    /// named `server_name`, whose verified certificate is then in the stream's session.
    ///
    /// A configured entry with that `server_name` decides whom to trust and what to present;
    /// without one, the home's own authority and identity are used.
    ///
    /// The stream carries the link protocol (docs/spec/link.md), beginning with our
    /// hello. To talk MCP, use [`Self::connect_to_mcp_server`].
    ///
    /// # Errors
    /// If the server cannot be reached, is not the one named, or does not trust us as
    /// far as the handshake tells; in TLS 1.3 the server's verdict on our certificate
    /// arrives with the first bytes it sends.
    pub async fn connect_tls(
        &self,
        server_name: &str,
        server_addr: &str,
    ) -> Result<TlsStream<TcpStream>> {
        let configured =
            self.reaches.values().find(|reach| reach.dial().server_name == server_name);
        let mut dial = match configured {
            Some(reach) => reach.dial().clone(),
            None => Reach::unconfigured(&self.config, server_name, server_addr)?.dial().clone(),
        };
        dial.endpoint = server_addr.to_owned();
        Ok(Dialer::new(dial).dial().await?.stream)
    }

    /// Connects to the MCP server of a configured entry and starts a conversation with it.
    ///
    /// The stream reads and writes newline-delimited JSON-RPC, as MCP's stdio transport
    /// does. The conversation ends when the stream is dropped. Must be called within a
    /// tokio runtime, which drives the connection.
    ///
    /// # Errors
    /// If there is no such entry, or the server cannot be reached or trusted.
    pub async fn connect_to_mcp_server(&self, name: &str) -> Result<McpStream> {
        let reach = match self.reaches.get(name) {
            Some(reach) => reach.clone(),
            None if self.config.servers.contains_key(name) => {
                Reach::configured(&self.config, name, None)?
            }
            None => return Err(unknown_server(&self.config, name)),
        };
        let mut connection = Connection::open(reach.connect_config()?).await?;
        let we_are = connection.we_are().to_owned();
        let (ours, theirs) = tokio::io::duplex(STREAM_BUFFER);
        let (input, output) = tokio::io::split(ours);
        let lines = Lines::new(input, output, reach.dial().max_message);
        let server = name.to_owned();
        let following = reach.follow();
        tokio::spawn(async move {
            // The stream's end tells the caller; the reason is for the log.
            let relayed = tokio::select! {
                relayed = connection.relay(lines, std::future::pending()) => relayed,
                never = following => match never {},
            };
            if let Err(error) = relayed {
                tracing::warn!(%server, %error, "the connection ended");
            }
        });
        Ok(McpStream { stream: theirs, we_are })
    }
}

/// A conversation with an MCP server: newline-delimited JSON-RPC in both directions.
pub struct McpStream {
    stream: DuplexStream,
    we_are: String,
}

impl McpStream {
    /// Our own name, as the serving side verified it from our certificate.
    pub fn we_are(&self) -> &str {
        &self.we_are
    }
}

impl AsyncRead for McpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for McpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
