//! `[app]` of the configuration: the keys that are this program's own.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

const HTTP_PORT: u16 = 8080;

/// The keys of `replica-node` in `[app]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct App {
    /// Where HTTP is served; port 0 is any free one.
    #[serde(deserialize_with = "address")]
    pub(super) http: SocketAddr,
    /// Serve the plain endpoints, which have no password, beyond loopback as well.
    pub(super) contract: bool,
}

impl Default for App {
    fn default() -> Self {
        Self { http: (Ipv4Addr::LOCALHOST, HTTP_PORT).into(), contract: false }
    }
}

impl App {
    /// Whether everything is served, or only what may be seen by anybody.
    pub(super) fn is_open(&self) -> bool {
        self.contract || self.http.ip().is_loopback()
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    struct Address;

    impl Visitor<'_> for Address {
        type Value = SocketAddr;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
            text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Address)
}
