//! Named scenarios: real processes under load, a fault or a change, and what it cost the visitors.
//!
//! How long a fault lasts is data; what comes of it is waited for as a condition. Each scenario runs
//! in both ways to spread the copies, unless it is about one of them.

mod bootstrap;
mod crash;
mod crowd;
mod disk;
mod growth;
mod hostile;
mod hot;
mod idle;
mod large;
mod lines;
mod network;
mod pause;
mod period;
mod placement;
mod resize;
mod restart;
mod retries;
mod scale;
mod scene;
mod skew;
mod slow_disk;
mod starved;
mod surge;
mod suspend;
mod table;
mod twice;
mod upgrade;
mod watch;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

pub use table::{Row, Table};
pub use watch::Watch;

use crate::service::Service;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// All nodes are stopped in good order and started again, one after another
    RollingRestart,
    /// The nodes are upgraded to a next release, back, and for good; then the release before is refused
    Upgrade,
    /// Nodes are killed, left out of the view, and started again: the leader, a voter, another
    Crash,
    /// Nodes are killed and started again at once
    KillRestart,
    /// The running cluster is told to spread copies otherwise, and back
    #[value(name = "mode-change")]
    Resize,
    /// Nodes hang for a while: the leader, a voter, another
    Pause,
    /// Two more nodes join while there are many sessions
    Join,
    /// Twenty nodes join three at once
    JoinMany,
    /// An operator drains nodes
    Drain,
    /// Clusters are founded: in any order, with a latecomer, a wiped node, one that crashes
    Bootstrap,
    /// The leader is killed, then another voter: nobody can decide any more
    VoterLoss,
    /// Of many nodes three crash one after another, then as many at once as there are backups, then
    /// one more: only what those alone held may be lost
    Scale,
    /// What few nodes, and then many, tell each other while nobody uses them
    Idle,
    /// Lines between nodes lose 1, 5, 20, 40 % of what they carry, and rows of it
    Loss,
    /// Lines are 200 ms long
    Delay,
    /// Lines are now shorter, now longer, by up to 100 ms
    Jitter,
    /// Lines carry 1 Mbit/s
    SlowLine,
    /// Lines double 30 % of what they carry
    Duplication,
    /// Lines hold back 30 % of what they carry
    Reordering,
    /// A node hears the others and is not heard, then the reverse
    OneWay,
    /// Two nodes do not reach each other, and everybody else
    PairCut,
    /// Two groups reach each other through one node alone
    Bridge,
    /// One node is cut off, then two that may be lost
    CutOff,
    /// Four nodes fall into two halves
    EvenSplit,
    /// The lines of one node come and go, once a second
    Flapping,
    /// The ports change from which nodes seem to talk
    Rebinding,
    /// Wall clocks are off a little, are set an hour ahead and an hour back; needs libfaketime
    Skew,
    /// A voter cannot write to its disk
    FullDisk,
    /// The disk of a voter, then of the leader, takes two seconds for each write
    SlowDisk,
    /// A second process runs under the name of a node: the leader, a voter, another
    Twice,
    /// A machine sleeps for longer than sessions live unused, then all do
    Suspend,
    /// A node gets about a tenth of a processor: the leader, a voter, another
    Starved,
    /// Several times as many visitors come for a while, without a rest
    Surge,
    /// A node is killed that many edits are on their way to
    Retries,
    /// One session, and then one user, takes all the traffic that there is beside the usual
    Hot,
    /// A member's certificate is stolen: its holder lies in every way, those without one knock
    Hostile,
}

impl Scenario {
    /// All of them, in the order in which they run.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// A few that take little time, one of each kind: a crash, a change, a bad line, an upgrade.
    #[must_use]
    pub const fn quick() -> &'static [Self] {
        &[Self::KillRestart, Self::Resize, Self::CutOff, Self::Upgrade]
    }

    /// The ways to spread copies that it is about.
    #[must_use]
    pub const fn spreads(self) -> &'static [Spread] {
        // Where every node has every session, no edit is on its way to another node.
        if self.is_large() || matches!(self, Self::Retries) {
            return &[Spread::PrimaryBackup];
        }
        &[Spread::AllToAll, Spread::PrimaryBackup]
    }

    /// Whether it takes more nodes than a machine has cores for.
    const fn is_large(self) -> bool {
        matches!(self, Self::Scale | Self::Idle | Self::JoinMany)
    }

    /// As it is written in a command.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Runs it.
    ///
    /// # Errors
    /// It cannot be brought about, or what should come of it does not come.
    pub fn run(self, service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
        watch.begin(&format!("{} {}", self.name(), settings.spread.name()));
        let row = match self {
            Self::RollingRestart => restart::rolling(service, settings, watch),
            Self::Upgrade => upgrade::there_and_back(service, settings, watch),
            Self::Crash => crash::each_role(service, settings, watch),
            Self::KillRestart => restart::at_once(service, settings, watch),
            Self::Resize => resize::there_and_back(service, settings, watch),
            Self::Pause => pause::each_role(service, settings, watch),
            Self::Join => growth::join(service, settings, watch),
            Self::JoinMany => growth::join_many(service, settings, watch),
            Self::Drain => growth::drain(service, settings, watch),
            Self::Bootstrap => bootstrap::rounds(service, settings, watch),
            Self::VoterLoss => crash::voters(service, settings, watch),
            Self::Scale => scale::crashes(service, settings, watch),
            Self::Idle => idle::traffic(service, settings, watch),
            Self::Loss => lines::loss(service, settings, watch),
            Self::Delay => lines::delay(service, settings, watch),
            Self::Jitter => lines::jitter(service, settings, watch),
            Self::SlowLine => lines::slow(service, settings, watch),
            Self::Duplication => lines::duplication(service, settings, watch),
            Self::Reordering => lines::reordering(service, settings, watch),
            Self::OneWay => network::one_way(service, settings, watch),
            Self::PairCut => network::pair(service, settings, watch),
            Self::Bridge => network::bridge(service, settings, watch),
            Self::CutOff => network::cut_off(service, settings, watch),
            Self::EvenSplit => network::even_split(service, settings, watch),
            Self::Flapping => network::flapping(service, settings, watch),
            Self::Rebinding => network::rebinding(service, settings, watch),
            Self::Skew => skew::clocks(settings, watch),
            Self::FullDisk => disk::full(service, settings, watch),
            Self::SlowDisk => slow_disk::each_role(service, settings, watch),
            Self::Twice => twice::each_role(service, settings, watch),
            Self::Suspend => suspend::one_and_all(service, settings, watch),
            Self::Starved => starved::each_role(service, settings, watch),
            Self::Surge => surge::there_and_back(service, settings, watch),
            Self::Retries => retries::crash(service, settings, watch),
            Self::Hot => hot::session_and_user(service, settings, watch),
            Self::Hostile => hostile::all_kinds(service, settings, watch),
        };
        watch.end();
        row
    }
}

/// How copies of sessions are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// Every node has every session
    AllToAll,
    /// One node and its backups have it
    PrimaryBackup,
}

impl Spread {
    /// As it is written in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllToAll => "all-to-all",
            Self::PrimaryBackup => "primary-backup",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::AllToAll => Self::PrimaryBackup,
            Self::PrimaryBackup => Self::AllToAll,
        }
    }

    /// How many nodes of so many have a session, if it is to have so many backups.
    fn held_by(self, nodes: usize, backups: usize) -> usize {
        match self {
            Self::AllToAll => nodes,
            Self::PrimaryBackup => nodes.min(1 + backups),
        }
    }
}

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How copies are spread, at first.
    pub spread: Spread,
    /// Backups of each session, where not every node has it.
    pub backups: usize,
    /// Nodes of a large cluster.
    pub nodes: usize,
    /// Visitors at once.
    pub visitors: usize,
    /// How long a visitor waits between two requests.
    pub rest: Duration,
    /// Sessions that are there already where many are wanted.
    pub sessions: usize,
    /// How long each role hangs, one after another.
    pub pauses: Vec<Duration>,
    /// How many clusters are founded.
    pub rounds: usize,
    /// How long it is counted what idle nodes send.
    pub period: Duration,
    /// How long a line is bad, or cut, or a node starves.
    pub fault: Duration,
    /// How long a line comes and goes.
    pub flaps: Duration,
    /// How long somebody attacks in one way.
    pub attack: Duration,
    /// How long there is more load than usual.
    pub surge: Duration,
}

impl Settings {
    /// What is usual.
    #[must_use]
    pub fn new(spread: Spread) -> Self {
        Self {
            spread,
            backups: 1,
            nodes: 25,
            visitors: 16,
            rest: Duration::from_millis(20),
            sessions: 10_000,
            pauses: [1, 3, 8].map(Duration::from_secs).to_vec(),
            rounds: 5,
            // Two comparisons of everything with everybody.
            period: Duration::from_secs(20),
            fault: Duration::from_secs(12),
            flaps: Duration::from_secs(30),
            // Longer than a node bears a handshake that does not end.
            attack: Duration::from_secs(4),
            surge: Duration::from_secs(20),
        }
    }

    /// What is usual for a scenario.
    #[must_use]
    pub fn of(scenario: Scenario, spread: Spread) -> Self {
        let usual = Self::new(spread);
        if scenario.is_large() {
            // All nodes share a few cores, and what is tried out are the nodes.
            return Self { backups: 2, visitors: 4, sessions: 3_000, ..usual };
        }
        if scenario == Scenario::Hostile {
            // One of those who acknowledge lies.
            return Self { backups: 2, sessions: 300, ..usual };
        }
        if scenario == Scenario::Retries {
            // The more edits are on their way, the more are repeated.
            return Self { visitors: 4 * usual.visitors, ..usual };
        }
        if scenario == Scenario::Hot {
            // Twice: the traffic of many sessions, and as much of one.
            return Self { surge: usual.surge / 2, sessions: 300, ..usual };
        }
        usual
    }
}
