//! One type for every kind of connection, so that protocol code does not care what it runs over.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connection. Reading and writing are plain; time limits are the caller's.
#[derive(Debug)]
pub enum Channel {
    /// TCP in the clear.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS by the system's OpenSSL over TCP.
    #[cfg(feature = "legacy-tls")]
    OpenSsl(Box<tokio_openssl::SslStream<TcpStream>>),
    /// A unix socket.
    Unix(UnixStream),
    /// A pipe in memory, for tests with a scripted peer.
    Memory(DuplexStream),
}

impl Channel {
    /// True if nobody on the way can read along: TLS, or a channel that does not leave this machine.
    pub fn is_private(&self) -> bool {
        !matches!(self, Channel::Tcp(_))
    }

    /// The address of the other end of a TCP connection.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        let stream = match self {
            Channel::Tcp(stream) => stream,
            Channel::Tls(stream) => stream.get_ref().0,
            #[cfg(feature = "legacy-tls")]
            Channel::OpenSsl(stream) => stream.get_ref(),
            Channel::Unix(_) | Channel::Memory(_) => return None,
        };
        stream.peer_addr().ok().map(|address| address.ip().to_canonical())
    }

    /// True if this is TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Channel::Tls(_) => true,
            #[cfg(feature = "legacy-tls")]
            Channel::OpenSsl(_) => true,
            Channel::Tcp(_) | Channel::Unix(_) | Channel::Memory(_) => false,
        }
    }
}

macro_rules! each {
    ($self:ident, $inner:ident => $body:expr) => {
        match $self.get_mut() {
            Channel::Tcp($inner) => $body,
            Channel::Tls($inner) => $body,
            #[cfg(feature = "legacy-tls")]
            Channel::OpenSsl($inner) => $body,
            Channel::Unix($inner) => $body,
            Channel::Memory($inner) => $body,
        }
    };
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
