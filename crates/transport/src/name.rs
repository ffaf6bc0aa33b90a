//! Names of nodes and clusters: DNS labels, because certificates carry them in a DNS name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Longest label that DNS allows, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// What is wrong with a name that is no DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{what} name {text:?} is not a DNS label; use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and \
     inner hyphens, for example \"n1\""
)]
pub struct NameError {
    what: &'static str,
    text: String,
}

fn check(what: &'static str, text: &str) -> Result<Arc<str>, NameError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let right = (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if right {
        Ok(Arc::from(text))
    } else {
        // A wrong name may be of any length; the message shows its beginning.
        let text = text.chars().take(NAME_BYTES_MAX).collect();
        Err(NameError { what, text })
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label! {
    /// The name of a node, unique in its cluster. Cheap to clone.
    NodeName, "node"
}

label! {
    /// The name of a cluster. Nodes of another cluster are refused. Cheap to clone.
    ClusterName, "cluster"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_labels_are_names() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for right in ["n1", "a", "eu-west-1", "0", longest.as_str()] {
            assert_eq!(right.parse::<NodeName>().unwrap().as_str(), right);
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for wrong in ["", "-a", "a-", "a.b", "A", "a b", "ä", "*", "a\0", long.as_str()] {
            assert!(wrong.parse::<ClusterName>().is_err(), "{wrong:?}");
        }
    }
}
