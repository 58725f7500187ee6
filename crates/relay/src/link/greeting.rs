//! The exchange of one frame each, before messages flow.

use std::any::Any;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::Frame;
use crate::memory::Buffer;

/// Bytes asked for in one read.
pub(crate) const CHUNK: usize = 64 * 1024;

/// A connection, and what has been read from it but not yet taken.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    pub(crate) buffer: Buffer,
    /// Given back when the connection ends: its places in the connection limits.
    pub(crate) permits: Option<Box<dyn Any + Send>>,
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Buffer::default(), permits: None }
    }
}

/// Reads one frame and gives it to `take`; greetings hold no messages.
pub(crate) async fn read_frame<S, T>(
    wire: &mut Wire<S>,
    take: impl FnOnce(&Frame<'_>) -> T,
) -> io::Result<T>
where
    S: AsyncRead + Unpin,
{
    loop {
        let parsed = Frame::parse(&wire.buffer, 0)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some((frame, length)) = parsed {
            let taken = take(&frame);
            wire.buffer.consume(length);
            return Ok(taken);
        }
        let Wire { stream, buffer, .. } = &mut *wire;
        let count =
            std::future::poll_fn(|cx| buffer.poll_fill(cx, Pin::new(&mut *stream), 1024)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Writes one frame.
pub(crate) async fn write_frame<S>(stream: &mut S, frame: &Frame<'_>) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await
}
