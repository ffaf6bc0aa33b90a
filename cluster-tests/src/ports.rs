//! Addresses of loopback for those who listen there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::Result;

/// An address of loopback that hardly anybody else has.
#[must_use]
pub fn own_ip() -> IpAddr {
    let byte = || fastrand::u8(1..=254);
    IpAddr::V4(Ipv4Addr::new(127, byte(), byte(), byte()))
}

/// Free UDP ports, all different, on such an address: a node that is started again must find its
/// port free, whatever runs beside it.
///
/// # Errors
/// The system has no sockets.
pub fn free_udp(count: usize) -> Result<Vec<SocketAddr>> {
    let ip = own_ip();
    let sockets: std::io::Result<Vec<UdpSocket>> =
        (0..count).map(|_| UdpSocket::bind((ip, 0))).collect();
    let addresses: std::io::Result<Vec<SocketAddr>> =
        sockets?.iter().map(UdpSocket::local_addr).collect();
    Ok(addresses?)
}
