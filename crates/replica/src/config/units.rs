//! Texts of the configuration that are more than texts: sizes in bytes and addresses.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use thiserror::Error;

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes, written as a whole number or with a unit: `4096`, `"64KiB"`, `"512MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSize(pub(super) u64);

impl FromStr for ByteSize {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)))
            .unwrap_or((text, 1));
        let number = number.trim_end();
        // `u64::from_str` would take a sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        let number: u64 = number.parse().map_err(|_| ())?;
        number.checked_mul(unit).map(Self).ok_or(())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |bytes: u64| self.0 >= bytes && self.0.is_multiple_of(bytes);
        match UNITS.iter().find(|(_, bytes)| fits(*bytes)) {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes such as 4096, \"64KiB\", \"32MiB\" or \"1GiB\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteSize, E> {
        let wrong = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map(ByteSize).map_err(wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(|()| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Where a node can be reached: a host and a UDP port. The host is resolved when it is dialled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an address is \"host:port\", for example \"n1.example:7001\" or \"[2001:db8::1]:7001\"")]
pub struct AddressError;

impl Address {
    /// Longest name of a host, in bytes (RFC 1035).
    const HOST_BYTES_MAX: usize = 253;

    /// DNS name or IP address, in lower case; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn is_host(host: &str) -> bool {
        let is_label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
        };
        host.len() <= Self::HOST_BYTES_MAX && host.split('.').all(is_label)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError)?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError);
        }
        let port: u16 = port.parse().map_err(|_| AddressError)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            // The canonical form, so that equal addresses are equal texts.
            Some(v6) => v6.parse::<Ipv6Addr>().map_err(|_| AddressError)?.to_string(),
            None if Self::is_host(host) => host.to_ascii_lowercase(),
            None => return Err(AddressError),
        };
        if port == 0 { Err(AddressError) } else { Ok(Self { host, port }) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Texts for addresses: a list, or one text with commas between them, as a variable of the
/// environment has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressesVisitor)
    }
}

struct AddressesVisitor;

impl<'de> Visitor<'de> for AddressesVisitor {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list such as [\"n1.example:7001\", \"n2.example:7001\"]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Addresses(parts.map(str::to_owned).collect()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Addresses, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        Ok(Addresses(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("7B", 7),
            ("64KiB", 65_536),
            ("2 MiB", 2 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for wrong in ["", "KiB", "1.5MiB", "-1", "+1", "1MB", "1m", "99999999999GiB", "0x10"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong:?}");
        }
        let shown = [0, 1_000, 1_024, 3 << 20, 5 << 30].map(|bytes| ByteSize(bytes).to_string());
        assert_eq!(shown, ["0B", "1000B", "1KiB", "3MiB", "5GiB"]);
    }

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for right in ["n1:7001", "a.b-c.example:1", "127.0.0.1:65535", "[::1]:7001"] {
            assert_eq!(right.parse::<Address>().unwrap().to_string(), right);
        }
        assert_eq!("N1.Example:7".parse::<Address>().unwrap().host(), "n1.example");
        assert_eq!("[0:0::1]:7".parse::<Address>().unwrap().host(), "::1");
        let long = format!("{}:1", "a.".repeat(127));
        for wrong in [
            "", "n1", ":1", "n1:", "n1:0", "n1:65536", "n1:+1", "::1:7", "[n1]:7", "a b:1",
            "a..b:1", &long,
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?}");
        }
    }
}
