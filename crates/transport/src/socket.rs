//! The UDP socket: bound, with large buffers, counting what goes and comes, and what belongs to
//! nothing.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator};
use socket2::{Domain, Protocol, Socket, Type};

use crate::counters::{Meters, add, count};
use crate::error::StartError;
use crate::limits::SOCKET_BUFFER_BYTES;

/// Binds the socket and asks for large buffers. Reports, once, if the system grants less.
pub(crate) fn bind(
    address: SocketAddr,
    meters: &Meters,
) -> Result<std::net::UdpSocket, StartError> {
    let socket = open(address).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::InUse { address }
        } else {
            StartError::Listen { address, source }
        }
    })?;
    let granted = |bytes: io::Result<usize>| bytes.map_or(0, granted_bytes);
    // A refusal shows in what is granted.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    let receive = granted(socket.recv_buffer_size());
    let send = granted(socket.send_buffer_size());
    meters.receive_buffer_bytes.store(receive, Ordering::Relaxed);
    meters.send_buffer_bytes.store(send, Ordering::Relaxed);
    if receive.min(send) < SOCKET_BUFFER_BYTES {
        meters.buffers_clamped.store(true, Ordering::Relaxed);
        tracing::warn!(
            "the system grants UDP buffers of {receive} (receive) and {send} (send) bytes, \
             {SOCKET_BUFFER_BYTES} were asked for; bulk traffic may lose packets; raise \
             net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(socket.into())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Both families on [::]; a system that cannot do this still serves IPv6.
        let _ = socket.set_only_v6(false);
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Linux reports twice what it grants, for its own bookkeeping (socket(7)).
fn granted_bytes(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

/// Makes and recognises the connection ids of this node, with the same key after a restart: so a
/// packet for a connection from before is answered with a reset, and anything else is not
/// answered at all.
pub(crate) fn connection_ids(key: u64) -> HashedConnectionIdGenerator {
    HashedConnectionIdGenerator::from_key(key)
}

/// A socket that counts datagrams and their bytes, and among those received the stray ones.
pub(crate) struct CountingSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    ids: HashedConnectionIdGenerator,
    meters: Arc<Meters>,
}

impl CountingSocket {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>, key: u64, meters: Arc<Meters>) -> Self {
        Self { inner, ids: connection_ids(key), meters }
    }
}

impl fmt::Debug for CountingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountingSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for CountingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        add(&self.meters.datagrams_sent, datagrams(transmit.contents.len(), transmit.segment_size));
        add(&self.meters.bytes_sent, transmit.contents.len());
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        for (buf, meta) in bufs.iter().zip(meta.iter()).take(received) {
            // The system may hand over several datagrams of one sender at once.
            let bytes = &buf[..meta.len.min(buf.len())];
            add(&self.meters.bytes_received, bytes.len());
            for datagram in bytes.chunks(meta.stride.max(1)) {
                count(&self.meters.datagrams);
                if is_stray(datagram, &self.ids) {
                    count(&self.meters.datagrams_stray);
                }
            }
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Into how many datagrams the system divides what it is given at once.
fn datagrams(bytes: usize, segment_size: Option<usize>) -> usize {
    segment_size.map_or(1, |size| bytes.div_ceil(size.max(1)))
}

/// First byte of a packet: long header.
const LONG_HEADER: u8 = 0x80;
const VERSION_1: [u8; 4] = [0, 0, 0, 1];

/// Whether a datagram neither belongs to a connection of this node nor begins one. Looks at the
/// outside only (RFC 9000 section 17), and not at the fixed bit, which peers clear at random (RFC
/// 9287). A reset from a peer looks like this as well.
fn is_stray(datagram: &[u8], ids: &HashedConnectionIdGenerator) -> bool {
    let Some((&first, rest)) = datagram.split_first() else {
        return true;
    };
    if first & LONG_HEADER != 0 {
        return rest.get(..VERSION_1.len()) != Some(&VERSION_1);
    }
    match rest.get(..ids.cid_len()) {
        Some(id) => ids.validate(&ConnectionId::new(id)).is_err(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_at_once_is_counted_as_the_datagrams_that_it_becomes() {
        for (bytes, segment_size, count) in
            [(1_200, None, 1), (1_200, Some(1_200), 1), (1_201, Some(1_200), 2), (60, Some(0), 60)]
        {
            assert_eq!(datagrams(bytes, segment_size), count, "{bytes} {segment_size:?}");
        }
    }

    #[test]
    fn what_belongs_to_nothing_is_stray() {
        let mut ids = connection_ids(7);
        let id = ids.generate_cid();
        for fixed_bit in [0x40, 0] {
            let ours: Vec<u8> = [fixed_bit].into_iter().chain(id.iter().copied()).collect();
            let theirs: Vec<u8> = [fixed_bit].into_iter().chain([9; 20]).collect();
            let first = [LONG_HEADER | fixed_bit, 0, 0, 0, 1, 8];
            let other_version = [LONG_HEADER | fixed_bit, 1, 2, 3, 4, 8];
            assert!(!is_stray(&ours, &connection_ids(7)), "the same after a restart");
            assert!(is_stray(&ours, &connection_ids(8)));
            assert!(!is_stray(&first, &ids));
            for stray in [&theirs[..], &other_version, &[], &[fixed_bit], &[fixed_bit, 0, 0, 1]] {
                assert!(is_stray(stray, &ids), "{stray:?}");
            }
        }
    }
}
