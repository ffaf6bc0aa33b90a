//! The command line: what can be asked for, and who does it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;
use transport::{ClusterName, NodeName};

use crate::cert::{self, CertError, MemberAddress};
use crate::demo::{self, DemoError};
use crate::operate::{self, OperateError};
use crate::run::{self, RunError};

/// Days that a certificate is valid by default: an authority, and what it issues.
const AUTHORITY_DAYS: u16 = 3650;
const CERTIFICATE_DAYS: u16 = 365;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (wire {})", env!("CARGO_PKG_VERSION"), replica::WIRE_VERSION));

/// Sessions that live on every node.
#[derive(Debug, Parser)]
#[command(name = "replica-node", version = VERSION.as_str(), about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine, with a page to try it in a browser
    Demo(DemoArgs),
    /// Run one node
    Run(RunArgs),
    /// Read a configuration and everything it names, and say what is wrong with it
    Check(ConfigArgs),
    /// Ask a running node whether it can serve every session; status 0 if it can
    Health(HealthArgs),
    /// Make the certificates of a cluster
    #[command(subcommand)]
    Cert(CertCommand),
    /// Say how a node is doing, and its cluster
    Status(OperateArgs),
    /// Say who is a member, or do something about it
    Members(MembersArgs),
    /// Change where copies of sessions are kept, on the whole running cluster
    #[command(name = "mode")]
    Spread(SpreadArgs),
    /// Let a node hand over what it holds, leave and end
    Drain(OperateArgs),
    /// All nodes run a later release: speak what it brings. The release before cannot come back
    Upgrade(OperateArgs),
}

/// Which node an operator asks, and who the operator is.
#[derive(Debug, Args)]
pub(crate) struct OperateArgs {
    /// The node: its address for the others (QUIC, UDP)
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:7001")]
    pub(crate) node: String,
    /// Folder that `cert operator` wrote
    #[arg(long = "as", global = true, value_name = "DIR", default_value = "operator")]
    pub(crate) certificate: PathBuf,
    /// Name of the cluster: only to make sure that the certificate is for it
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What `members` is asked for.
#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(crate) operate: OperateArgs,
    #[command(subcommand)]
    pub(crate) command: Option<MembersCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// Remove a member that does not answer, without waiting any longer
    Remove {
        /// Its name
        name: NodeName,
        /// Also if sessions are lost that nobody else holds
        #[arg(long)]
        accept_loss: bool,
    },
    /// Make membership anew from what this node knows: the majority of the voters is lost for good
    Recover {
        /// Without it, only say what would happen
        #[arg(long)]
        yes: bool,
    },
}

/// What `mode` is asked for.
#[derive(Debug, Args)]
pub(crate) struct SpreadArgs {
    /// "all-to-all": every node keeps every session; "primary-backup": one node and its backups
    #[arg(value_name = "WORD")]
    pub(crate) word: String,
    /// Backups of a session, for "primary-backup"
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) backups: u64,
    /// How long to wait until all sessions have moved
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) operate: OperateArgs,
}

impl SpreadArgs {
    /// As it stands in a configuration.
    pub(crate) fn shown(&self) -> String {
        match self.word.as_str() {
            "all-to-all" => "every member (mode = \"all-to-all\")".to_owned(),
            word => {
                format!("a primary and its backups (mode = \"{word}\", backups = {})", self.backups)
            }
        }
    }
}

/// What `demo` is asked for.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(demo::NODES_MAX)))]
    pub(crate) nodes: u8,
    /// Where copies of a session are kept: "all-to-all", or "primary-backup": on two nodes
    #[arg(long = "mode", value_name = "WORD", default_value = "all-to-all")]
    pub(crate) spread: String,
    /// Port of the page; the nodes take those after it. By default 8080 for the page if it is
    /// free, and any free ports
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) http: Option<u16>,
}

/// What `run` is asked for.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// How log lines are written; which ones is said by the variable RUST_LOG
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// End at once when the standard input ends: for a program that starts nodes and must not
    /// leave any behind
    #[arg(long)]
    pub(crate) end_with_stdin: bool,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// A configuration file.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file; variables such as REPLICA__APP__HTTP go over it
    #[arg(long = "config", value_name = "FILE", default_value = "node.toml")]
    pub(crate) path: PathBuf,
}

/// Which node `health` asks.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// HTTP address of the node
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    pub(crate) http: Option<SocketAddr>,
    /// Configuration file of the node, instead of its address
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    /// Make a cluster: its authority and its token keys
    Ca(AuthorityArgs),
    /// Make a folder with everything that a node needs
    Node(NodeArgs),
    /// Make the certificate of a person, for status, members, mode and drain
    Operator(OperatorArgs),
}

/// What `cert ca` is asked for.
#[derive(Debug, Args)]
pub(crate) struct AuthorityArgs {
    /// Name of the cluster, a DNS label
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: ClusterName,
    /// Folder to write into
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How long the authority is valid
    #[arg(long, value_name = "DAYS", default_value_t = AUTHORITY_DAYS,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) days: u16,
}

/// What all certificates need that are issued by an authority.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// Folder that `cert ca` wrote
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) ca: PathBuf,
    /// Folder to write into
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Name of the cluster: only to make sure that it is the right authority
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// How long the certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = CERTIFICATE_DAYS,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) days: u16,
}

/// What `cert node` is asked for.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Name of the node, a DNS label
    pub(crate) name: NodeName,
    #[command(flatten)]
    pub(crate) issue: IssueArgs,
    /// Where the node listens for the others (UDP)
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// A node that starts with this one and where the others reach it; once for each, the same for
    /// all. They find each other by these addresses; nodes that come later may be given some of them
    #[arg(long = "member", value_name = "NAME=HOST:PORT")]
    pub(crate) members: Vec<MemberAddress>,
    /// The members are those given and no others, whatever happens: nothing is agreed at run time,
    /// nothing is kept on a disk, and every node holds every session
    #[arg(long)]
    pub(crate) fixed: bool,
    /// Where `replica-node run` serves HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
}

/// What `cert operator` is asked for.
#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// Name of the person, a DNS label
    pub(crate) name: NodeName,
    #[command(flatten)]
    pub(crate) issue: IssueArgs,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Cert(#[from] CertError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error(transparent)]
    Operate(#[from] OperateError),
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Demo(args) => Ok(demo::demo(&args)?),
            Command::Run(args) => Ok(run::run(&args)?),
            Command::Check(args) => Ok(run::check(&args.path)?),
            Command::Health(args) => Ok(run::health(&args)?),
            Command::Status(args) => Ok(operate::status(&args)?),
            Command::Members(args) => Ok(operate::members(&args.operate, args.command.as_ref())?),
            Command::Spread(args) => Ok(operate::spread(&args)?),
            Command::Drain(args) => Ok(operate::drain(&args)?),
            Command::Upgrade(args) => Ok(operate::upgrade(&args)?),
            Command::Cert(command) => {
                crate::say(command.run()?.trim_end());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl CertCommand {
    /// Returns what to tell the person who asked.
    fn run(&self) -> Result<String, CertError> {
        match self {
            Self::Ca(args) => cert::authority(args),
            Self::Node(args) => cert::node(args),
            Self::Operator(args) => cert::operator(args),
        }
    }
}
