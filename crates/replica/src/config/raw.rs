//! The configuration as it is written: the keys of every section, their types, their defaults.
//! Nothing here is checked beyond its type; that is `check`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor, value};
use serde::forward_to_deserialize_any;

use super::memory::Memory;
use super::units::{Addresses, ByteSize};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// All sections but `[app]`, which belongs to the embedding program.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) node: Node,
    pub(super) cluster: Cluster,
    pub(super) replication: Replication,
    pub(super) session: Session,
    pub(super) tls: Tls,
    pub(super) limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Node {
    pub(super) listen: String,
    pub(super) advertise: Option<String>,
    pub(super) name: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) data_dir: Option<String>,
    #[serde(with = "humantime_serde")]
    pub(super) drain_grace: Duration,
    #[serde(with = "humantime_serde")]
    pub(super) drain_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(super) reload_interval: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:7001".to_owned(),
            advertise: None,
            name: None,
            zone: None,
            data_dir: None,
            drain_grace: 3 * SECOND,
            drain_timeout: MINUTE,
            reload_interval: 30 * SECOND,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Cluster {
    pub(super) name: Option<String>,
    pub(super) seeds: Option<Addresses>,
    pub(super) expect: Option<u64>,
    pub(super) voters: u64,
    #[serde(with = "humantime_serde")]
    pub(super) voter_replace_after: Duration,
    pub(super) members: Option<BTreeMap<String, String>>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: None,
            seeds: None,
            expect: None,
            voters: 3,
            voter_replace_after: MINUTE,
            members: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Replication {
    pub(super) mode: Mode,
    pub(super) backups: u64,
    pub(super) ack: Ack,
    #[serde(with = "humantime_serde")]
    pub(super) ack_timeout: Duration,
}

impl Default for Replication {
    fn default() -> Self {
        Self { mode: Mode::AllToAll, backups: 1, ack: Ack::One, ack_timeout: SECOND }
    }
}

/// The word for a number of copies. Nothing beyond this module knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    AllToAll,
    PrimaryBackup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ack {
    Local,
    One,
    Quorum,
    All,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Session {
    #[serde(with = "humantime_serde")]
    pub(super) idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(super) absolute_timeout: Duration,
    pub(super) attributes_max: u64,
    pub(super) session_bytes_max: ByteSize,
    pub(super) token_keys: String,
    pub(super) cookie: Cookie,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            idle_timeout: 30 * MINUTE,
            absolute_timeout: 24 * HOUR,
            attributes_max: session::ATTRIBUTES_MAX as u64,
            session_bytes_max: ByteSize(session::SESSION_BYTES_MAX as u64),
            token_keys: "token.keys".to_owned(),
            cookie: Cookie::default(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Cookie {
    pub(super) name: String,
    pub(super) token_name: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) path: String,
    pub(super) secure: bool,
    pub(super) same_site: SameSite,
    pub(super) host_prefix: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "session".to_owned(),
            token_name: None,
            domain: None,
            path: "/".to_owned(),
            secure: true,
            same_site: SameSite::Lax,
            host_prefix: true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SameSite {
    Lax,
    Strict,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Tls {
    pub(super) ca: String,
    pub(super) cert: String,
    pub(super) key: String,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: "ca.pem".to_owned(), cert: "node.pem".to_owned(), key: "node.key".to_owned() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct Limits {
    pub(super) memory: Memory,
    pub(super) outbox_sessions_max: u64,
    pub(super) frame_bytes_max: ByteSize,
    pub(super) lane_queue_bytes_max: ByteSize,
    pub(super) lane_inbox_bytes_max: ByteSize,
    pub(super) connections_max: u64,
    pub(super) handshakes_max: u64,
    pub(super) handshakes_before_retry: u64,
    #[serde(with = "humantime_serde")]
    pub(super) repair_interval: Duration,
    pub(super) repair_bytes_per_second: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Memory::Auto,
            outbox_sessions_max: 100_000,
            frame_bytes_max: ByteSize(4 << 20),
            lane_queue_bytes_max: ByteSize(6 << 20),
            lane_inbox_bytes_max: ByteSize(1 << 20),
            connections_max: 2_048,
            handshakes_max: 64,
            handshakes_before_retry: 16,
            repair_interval: 10 * SECOND,
            repair_bytes_per_second: ByteSize(32 << 20),
        }
    }
}

/// The section of the embedding program, which may hold any key.
pub(super) const APP: &str = "app";

/// The one table whose keys are names.
pub(super) const MEMBERS: &str = "cluster.members";

/// Keys that people will try, and why they cannot be set.
pub(super) const REFUSED: [(&str, &str); 2] = [
    ("session.max_per_user", "it comes with the users' index"),
    ("session.cookie.http_only", "it is always on, so that no script can read the session's id"),
];

/// The tables that hold keys of their own, with the keys of each.
pub(super) fn tables() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("node", fields_of::<Node>()),
        ("cluster", fields_of::<Cluster>()),
        ("replication", fields_of::<Replication>()),
        ("session", fields_of::<Session>()),
        ("session.cookie", fields_of::<Cookie>()),
        ("tls", fields_of::<Tls>()),
        ("limits", fields_of::<Limits>()),
    ]
}

/// The names under which serde knows the fields of a struct.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Always an error: nothing is read, the fields are only asked for.
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(serde::de::Error::custom("only the fields"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
