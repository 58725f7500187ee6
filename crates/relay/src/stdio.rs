//! Our own standard input and output as an endpoint.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, Stdin as TokioStdin, Stdout as TokioStdout};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::lines::Lines;

/// Our standard input and output, as MCP's stdio transport uses them.
///
/// # Errors
/// When a stream cannot be duplicated or registered with the runtime.
pub fn stdio(max_message: usize) -> io::Result<Lines<Input, Output>> {
    Ok(Lines::new(Input::open()?, Output::open()?, max_message))
}

/// Standard input. Pipes and sockets, which every MCP client uses, are read without
/// blocking; anything else through a thread, which costs a hop per read.
pub enum Input {
    /// A pipe.
    Pipe(pipe::Receiver),
    /// A socket: some clients start their servers with socket pairs.
    Socket(UnixStream),
    /// A file or terminal.
    Other(TokioStdin),
}

/// Standard output; see [`Input`].
pub enum Output {
    /// A pipe.
    Pipe(pipe::Sender),
    /// A socket.
    Socket(UnixStream),
    /// A file or terminal.
    Other(TokioStdout),
}

impl Input {
    fn open() -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        Ok(if kind.is_fifo() {
            Self::Pipe(pipe::Receiver::from_file(file)?)
        } else if kind.is_socket() {
            Self::Socket(socket(file)?)
        } else {
            Self::Other(tokio::io::stdin())
        })
    }
}

impl Output {
    fn open() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        Ok(if kind.is_fifo() {
            Self::Pipe(pipe::Sender::from_file(file)?)
        } else if kind.is_socket() {
            Self::Socket(socket(file)?)
        } else {
            Self::Other(tokio::io::stdout())
        })
    }
}

fn socket(file: File) -> io::Result<UnixStream> {
    let socket = StdUnixStream::from(std::os::fd::OwnedFd::from(file));
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Other(stdin) => Pin::new(stdin).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Other(stdout) => Pin::new(stdout).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Other(stdout) => Pin::new(stdout).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Other(stdout) => Pin::new(stdout).poll_shutdown(cx),
        }
    }
}

/// Others may hold the same pipe or socket, a shell for one, and do not expect it to
/// refuse to block.
impl Drop for Output {
    fn drop(&mut self) {
        restore_blocking(io::stdout().as_fd());
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        restore_blocking(io::stdin().as_fd());
    }
}

fn restore_blocking(stream: std::os::fd::BorrowedFd<'_>) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    if let Ok(flags) = fcntl_getfl(stream) {
        // There is nobody left to tell if this fails: the process is ending.
        let _unchanged = fcntl_setfl(stream, flags - OFlags::NONBLOCK);
    }
}
