//! From what is written to what is meant: bounds and combinations. All problems are collected.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use protocol::{Ack, Copies};
use session::{ABSOLUTE_TIMEOUT_MS_MAX, ATTRIBUTES_MAX, SESSION_BYTES_MAX, TOKEN_ENTRIES_MAX};
use transport::{ClusterName, NodeName, TlsPaths};

use super::Config;
use super::error::{ConfigError, Fault, Place, Problem};
use super::raw;
use super::section::{ClusterSection, NodeSection, ReplicationSection, SessionSection};
use super::source::{Layers, Text};
use super::units::{Address, AddressError, Addresses, ByteSize};

/// Members of a cluster. A token names at most as many writers.
pub(super) const MEMBERS_MAX: usize = TOKEN_ENTRIES_MAX;

/// Longest name of a zone, in bytes.
const ZONE_BYTES_MAX: usize = 63;

const DRAIN_GRACE_MAX: Duration = Duration::from_secs(5 * 60);
const DRAIN_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

/// Shorter than it takes to notice that a voter is silent, it would replace those that are well.
const VOTER_REPLACE_AFTER_MIN: Duration = Duration::from_secs(1);
const VOTER_REPLACE_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Seeds are asked one after another: more would take longer than anybody waits.
const SEEDS_MAX: usize = 64;

/// More nodes than anybody starts at once.
const NODES_MAX: u64 = 1_024;

const RELOAD_INTERVAL_MIN: Duration = Duration::from_millis(100);
const RELOAD_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);
const BACKUPS_MAX: u64 = MEMBERS_MAX as u64 - 1;

/// Below it a healthy peer in the same room may already be late.
const ACK_TIMEOUT_MIN: Duration = Duration::from_millis(10);
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Clocks may differ by half of it, so less would mean nothing.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const ABSOLUTE_TIMEOUT_MAX: Duration = Duration::from_millis(ABSOLUTE_TIMEOUT_MS_MAX);

/// Least size of a session: one attribute with a name of full length, and some.
const SESSION_BYTES_MIN: u64 = 1 << 10;

/// Checks values against what was said where, and remembers what is wrong.
pub(super) struct Checker<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self { layers, problems: Vec::new() }
    }

    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Notes what is wrong with the value of a key.
    pub(super) fn refuse(&mut self, key: &str, fault: Fault) {
        self.refuse_value(key, self.layers.shown(key), fault);
    }

    /// The same, for a value that is in use and may be the default.
    pub(super) fn refuse_in_use(&mut self, key: &str, default: impl Display, fault: Fault) {
        let value = self.said(key, default);
        self.refuse_value(key, Some(value), fault);
    }

    fn refuse_value(&mut self, key: &str, value: Option<String>, fault: Fault) {
        let place = match self.layers.place(key) {
            // Not said anywhere: the place to say something else is a file.
            Place::Default => self.layers.files_place(),
            said @ (Place::File(_) | Place::Variable(_)) => said,
        };
        self.problems.push(Problem { place, key: key.to_owned(), value, fault });
    }

    /// The value as it was said, or the default.
    fn said(&self, key: &str, default: impl Display) -> String {
        self.layers.shown(key).unwrap_or_else(|| format!("{default} (the default)"))
    }

    /// Notes that two values cannot be together, at the one that was said: `relation` is how the
    /// first stands to the second, `inverse` how the second stands to the first.
    pub(super) fn contradict(
        &mut self,
        (key, value, relation): (&str, &dyn Display, &'static str),
        (other, other_value, inverse): (&str, &dyn Display, &'static str),
        remedy: &'static str,
    ) {
        let swap = self.layers.find(key).is_none() && self.layers.find(other).is_some();
        if swap {
            return self.contradict((other, other_value, inverse), (key, value, relation), remedy);
        }
        let value = self.said(key, value);
        let other = format!("{other} = {}", self.said(other, other_value));
        self.refuse_value(key, Some(value), Fault::Contradiction { relation, other, remedy });
    }

    fn within<T: PartialOrd + Copy>(
        &mut self,
        (key, value): (&str, T),
        (min, max): (T, T),
        show: impl Fn(T) -> String,
    ) -> T {
        if value < min || value > max {
            self.refuse(key, Fault::OutOfBounds { min: show(min), max: show(max) });
        }
        value
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        value: Duration,
        min: Duration,
        max: Duration,
    ) -> Duration {
        self.within((key, value), (min, max), |value| format_duration(value).to_string())
    }

    pub(super) fn count(&mut self, key: &str, value: u64, min: u64, max: u64) -> usize {
        let value = self.within((key, value), (min, max), |value| value.to_string());
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(
        &mut self,
        key: &str,
        ByteSize(value): ByteSize,
        min: u64,
        max: u64,
    ) -> u64 {
        self.within((key, value), (min, max), |value| ByteSize(value).to_string())
    }

    pub(super) fn size(&mut self, key: &str, value: ByteSize, min: u64, max: u64) -> usize {
        usize::try_from(self.bytes(key, value, min, max)).unwrap_or(usize::MAX)
    }

    fn path(&mut self, key: &str, path: &str) -> PathBuf {
        if path.is_empty() {
            self.refuse(key, Fault::Type { expected: "a path".to_owned() });
        }
        self.layers.resolve(key, path)
    }

    /// The value of a text, or a note of what is wrong with it.
    fn text<T, E: Into<Fault>>(&mut self, key: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.refuse(key, error.into())).ok()
    }

    /// The same for a text that need not be there. What is refused is taken for absent, which
    /// nobody sees: a configuration with a problem is not handed out.
    pub(super) fn optional<T, E: Into<Fault>>(
        &mut self,
        key: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        text.and_then(|text| self.text(key, parse(text)))
    }
}

impl From<AddressError> for Fault {
    fn from(_: AddressError) -> Self {
        let expected = "\"host:port\", such as \"n1.example:7001\" or \"[2001:db8::1]:7001\"";
        Self::Type { expected: expected.to_owned() }
    }
}

pub(super) fn node(checker: &mut Checker<'_>, raw: &raw::Node) -> Option<NodeSection> {
    let expected = "an IP address and a port, such as \"0.0.0.0:7001\" or \"[::]:7001\"";
    let listen = raw.listen.parse::<SocketAddr>();
    let listen = listen.map_err(|_| Fault::Type { expected: expected.to_owned() });
    let listen = checker.text("node.listen", listen);
    let data_dir = raw.data_dir.as_deref();
    let (grace, reload) = (raw.drain_grace, raw.reload_interval);
    Some(NodeSection {
        advertise: checker.optional("node.advertise", raw.advertise.as_deref(), str::parse),
        name: checker.optional("node.name", raw.name.as_deref(), str::parse),
        zone: checker.optional("node.zone", raw.zone.as_deref(), zone),
        data_dir: data_dir.map(|path| checker.path("node.data_dir", path)),
        drain_grace: checker.duration("node.drain_grace", grace, Duration::ZERO, DRAIN_GRACE_MAX),
        drain_timeout: checker.duration(
            "node.drain_timeout",
            raw.drain_timeout,
            DRAIN_TIMEOUT_MIN,
            DRAIN_TIMEOUT_MAX,
        ),
        reload_interval: checker.duration(
            "node.reload_interval",
            reload,
            RELOAD_INTERVAL_MIN,
            RELOAD_INTERVAL_MAX,
        ),
        listen: listen?,
    })
}

fn zone(text: &str) -> Result<String, Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=ZONE_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    let expected = "1 to 63 of letters, digits, hyphen, dot and underscore, such as \"eu-1\"";
    Err(Fault::Type { expected: expected.to_owned() })
}

pub(super) fn cluster(checker: &mut Checker<'_>, raw: &raw::Cluster) -> Option<ClusterSection> {
    let name = match &raw.name {
        Some(name) => checker.text("cluster.name", name.parse::<ClusterName>()),
        None => {
            checker.refuse("cluster.name", Fault::Missing { example: "name = \"…\" to [cluster]" });
            None
        }
    };
    let fixed = raw.members.as_ref().filter(|members| !members.is_empty());
    let members = match (fixed, &raw.seeds) {
        (Some(members), None) => self::members(checker, members),
        (Some(_), Some(_)) => {
            let remedy = "remove one: members are fixed, or agreed at run time by way of seeds";
            let (relation, other) = ("cannot be together with", "cluster.members".to_owned());
            checker.refuse(SEEDS, Fault::Contradiction { relation, other, remedy });
            None
        }
        (None, Some(_)) => Some(BTreeMap::new()),
        (None, None) => {
            let example = "seeds = [\"host:7001\", …] and expect = 3 to [cluster]; with seeds = [] \
                           this node founds a cluster alone";
            checker.refuse_value(SEEDS, None, Fault::Missing { example });
            None
        }
    };
    let seeds = seeds(checker, raw.seeds.as_ref());
    let expect = expect(checker, raw.expect, seeds.len(), fixed.is_some());
    let (key, voters) = ("cluster.voters", raw.voters);
    if ![1, 3, 5].contains(&voters) {
        checker.refuse_in_use(key, voters, Fault::Type { expected: "1, 3 or 5".to_owned() });
    }
    let (min, max) = (VOTER_REPLACE_AFTER_MIN, VOTER_REPLACE_AFTER_MAX);
    let key = "cluster.voter_replace_after";
    let voter_replace_after = checker.duration(key, raw.voter_replace_after, min, max);
    let voters = usize::try_from(voters).unwrap_or(1);
    let (name, members) = (name?, members?);
    Some(ClusterSection { name, seeds, expect, voters, voter_replace_after, members })
}

const SEEDS: &str = "cluster.seeds";
const EXPECT: &str = "cluster.expect";

fn seeds(checker: &mut Checker<'_>, raw: Option<&Addresses>) -> Vec<Address> {
    let mut seeds = Vec::new();
    let texts = raw.map_or(&[][..], |Addresses(texts)| texts);
    if texts.len() > SEEDS_MAX {
        let (min, max) = ("0".to_owned(), format!("{SEEDS_MAX} seeds"));
        checker.refuse(SEEDS, Fault::OutOfBounds { min, max });
        return seeds;
    }
    for text in texts {
        match checker.text(SEEDS, text.parse::<Address>()) {
            Some(seed) if seeds.contains(&seed) => {}
            Some(seed) => seeds.push(seed),
            None => break,
        }
    }
    seeds
}

/// How many nodes have to be there. `seeds` are those of other nodes, or of this one too.
fn expect(checker: &mut Checker<'_>, raw: Option<u64>, seeds: usize, is_fixed: bool) -> usize {
    match raw {
        Some(_) if is_fixed => {
            let remedy = "remove it: members that are fixed are not waited for";
            let (relation, other) = ("cannot be together with", "cluster.members".to_owned());
            checker.refuse(EXPECT, Fault::Contradiction { relation, other, remedy });
            1
        }
        Some(expect) => {
            let expect = checker.count(EXPECT, expect, 1, NODES_MAX);
            if expect.saturating_mul(2) <= seeds {
                let other = format!("the {seeds} addresses in cluster.seeds");
                let relation = "is not more than half of";
                let remedy = "two halves could each found a cluster; give the number of nodes \
                              that start together";
                checker.refuse(EXPECT, Fault::Contradiction { relation, other, remedy });
            }
            expect
        }
        None if seeds > 0 => {
            let example = "expect = N to [cluster], the number of nodes that start together";
            checker.refuse_value(EXPECT, None, Fault::Missing { example });
            1
        }
        None => 1,
    }
}

fn members(
    checker: &mut Checker<'_>,
    raw: &BTreeMap<String, String>,
) -> Option<BTreeMap<NodeName, Address>> {
    if raw.len() > MEMBERS_MAX {
        let (min, max) = ("1".to_owned(), format!("{MEMBERS_MAX} members"));
        let value = Some(format!("{} members", raw.len()));
        checker.refuse_value(raw::MEMBERS, value, Fault::OutOfBounds { min, max });
        return None;
    }
    let mut members = BTreeMap::<NodeName, Address>::new();
    for (name, address) in raw {
        let key = format!("{}.{name}", raw::MEMBERS);
        let name = match name.parse::<NodeName>() {
            Ok(name) => name,
            Err(error) => {
                // The name may be any text, and the error shows it so that it fits in a line.
                checker.refuse_value(raw::MEMBERS, None, error.into());
                continue;
            }
        };
        let Some(address) = checker.text(&key, address.parse::<Address>()) else { continue };
        if let Some((other, _)) = members.iter().find(|(_, known)| **known == address) {
            let other = other.clone();
            checker.refuse(&key, Fault::DuplicateAddress { other });
        }
        members.insert(name, address);
    }
    (members.len() == raw.len()).then_some(members)
}

/// The only place that knows what a mode is. `members` is 0 if they are not known.
pub(super) fn replication(
    checker: &mut Checker<'_>,
    raw: &raw::Replication,
    members: usize,
) -> ReplicationSection {
    let backups = checker.count("replication.backups", raw.backups, 1, BACKUPS_MAX);
    let ack = match raw.ack {
        raw::Ack::Local => Ack::Local,
        raw::Ack::One => Ack::One,
        raw::Ack::Quorum => Ack::Quorum,
        raw::Ack::All => Ack::All,
    };
    let copies = match raw.mode {
        raw::Mode::AllToAll => Copies::All,
        raw::Mode::PrimaryBackup => {
            let needed = backups.saturating_add(1);
            let remedy = "lower it, or add members";
            too_few(checker, ("replication.backups", "1"), needed, members, remedy);
            let count = u16::try_from(needed).ok().and_then(NonZeroU16::new);
            Copies::Count(count.unwrap_or(NonZeroU16::MAX))
        }
    };
    if ack != Ack::Local {
        let remedy = "add members, or set it to \"local\"";
        too_few(checker, ("replication.ack", "\"one\""), 2, members, remedy);
    }
    let key = "replication.ack_timeout";
    let ack_timeout = checker.duration(key, raw.ack_timeout, ACK_TIMEOUT_MIN, ACK_TIMEOUT_MAX);
    ReplicationSection { copies, ack, ack_timeout }
}

/// The number of copies that two keys of the configuration stand for.
///
/// # Errors
/// As for `replication.mode` and `replication.backups` in a file.
pub fn copies(mode: &str, backups: u64) -> Result<Copies, ConfigError> {
    let text = format!(
        "cluster = {{ name = \"any\", seeds = [] }}\n\
         replication = {{ mode = {mode:?}, backups = {backups} }}"
    );
    let config = Config::read(&[Text::new("command line", "".as_ref(), &text)], [])?;
    Ok(config.replication.copies)
}

/// A number of copies in the words of the configuration.
pub(super) fn described(copies: Copies) -> String {
    match copies {
        Copies::All => "replication.mode = \"all-to-all\"".to_owned(),
        Copies::Count(count) => {
            let backups = count.get().saturating_sub(1);
            format!("replication.mode = \"primary-backup\", backups = {backups}")
        }
    }
}

fn too_few(
    checker: &mut Checker<'_>,
    (key, default): (&str, &str),
    needed: usize,
    members: usize,
    remedy: &'static str,
) {
    if (1..needed).contains(&members) {
        checker.refuse_in_use(key, default, Fault::TooFewMembers { needed, members, remedy });
    }
}

pub(super) fn session(checker: &mut Checker<'_>, raw: &raw::Session) -> Option<SessionSection> {
    let (idle_key, absolute_key) = ("session.idle_timeout", "session.absolute_timeout");
    let (idle, absolute) = (raw.idle_timeout, raw.absolute_timeout);
    let idle_timeout = checker.duration(idle_key, idle, TIMEOUT_MIN, ABSOLUTE_TIMEOUT_MAX);
    let absolute_timeout =
        checker.duration(absolute_key, absolute, TIMEOUT_MIN, ABSOLUTE_TIMEOUT_MAX);
    if idle_timeout > absolute_timeout {
        checker.contradict(
            (idle_key, &format_duration(idle), "is longer than"),
            (absolute_key, &format_duration(absolute), "is shorter than"),
            "a session ends at the absolute timeout; make the idle one at most as long",
        );
    }
    let attributes = raw.attributes_max;
    let (bytes, bytes_max) = (raw.session_bytes_max, SESSION_BYTES_MAX as u64);
    let limits = session::Limits {
        attributes_max: checker.count(
            "session.attributes_max",
            attributes,
            1,
            ATTRIBUTES_MAX as u64,
        ),
        session_bytes_max: checker.size(
            "session.session_bytes_max",
            bytes,
            SESSION_BYTES_MIN,
            bytes_max,
        ),
    };
    let token_keys = checker.path("session.token_keys", &raw.token_keys);
    let cookie = super::cookie::check(checker, &raw.cookie)?;
    Some(SessionSection { idle_timeout, absolute_timeout, limits, token_keys, cookie })
}

pub(super) fn tls(checker: &mut Checker<'_>, raw: &raw::Tls) -> TlsPaths {
    TlsPaths {
        ca: checker.path("tls.ca", &raw.ca),
        cert: checker.path("tls.cert", &raw.cert),
        key: checker.path("tls.key", &raw.key),
    }
}

/// A node must be one of the members, at the address that it announces. `key` gave its name.
pub(super) fn own_member(
    checker: &mut Checker<'_>,
    key: &str,
    name: &NodeName,
    node: &NodeSection,
    cluster: &ClusterSection,
) {
    if !cluster.is_fixed() {
        return;
    }
    let name = name.clone();
    let Some(address) = cluster.members.get(&name) else {
        let members: Vec<&str> = cluster.members.keys().map(NodeName::as_str).collect();
        let members = members.join(", ");
        return checker.refuse(key, Fault::NotAMember { name, members });
    };
    if node.advertise.as_ref().is_some_and(|advertise| advertise != address) {
        let listed = address.to_string();
        checker.refuse("node.advertise", Fault::OtherAddress { name, listed });
    }
}
