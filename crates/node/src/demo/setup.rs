//! What the nodes of a demonstration need before they start: a folder with throw-away
//! certificates and configurations, as `cert` writes them, and free ports.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use replica::Config;
use tempfile::TempDir;
use transport::NodeName;

use super::DemoError;
use crate::cert::{self, MemberAddress};
use crate::cli::{AuthorityArgs, DemoArgs, IssueArgs, NodeArgs};

const CLUSTER: &str = "demo";

/// Days that the certificates last.
const DAYS: u16 = 30;

/// Beginning of the variables that a configuration takes. Those of the terminal are kept from the
/// nodes: they belong to another cluster.
pub(super) const VARIABLES: &str = "REPLICA__";

/// A cluster that can be started.
pub(super) struct Setup {
    /// Removed with everything in it when the demonstration ends.
    _folder: TempDir,
    pub(super) nodes: Vec<NodeSetup>,
}

/// A node that can be started.
#[derive(Clone)]
pub(super) struct NodeSetup {
    pub(super) name: NodeName,
    pub(super) config: PathBuf,
    /// What differs from the configuration that `cert` writes.
    pub(super) variables: BTreeMap<&'static str, String>,
}

impl Setup {
    pub(super) fn make(args: &DemoArgs) -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new().prefix("replica-demo-").tempdir();
        let folder = folder.map_err(DemoError::Folder)?;
        let members = members(args.nodes).map_err(DemoError::Loopback)?;
        let ca = folder.path().join("ca");
        let cluster = CLUSTER.parse().map_err(invalid).map_err(DemoError::Folder)?;
        cert::authority(&AuthorityArgs { cluster, out: ca.clone(), days: DAYS })?;
        let mut nodes = Vec::new();
        for (number, member) in (1_u16..).zip(&members) {
            let http_port = match args.http {
                None => 0,
                Some(page) => page.checked_add(number).ok_or(DemoError::Ports(page))?,
            };
            let http = SocketAddr::from((Ipv4Addr::LOCALHOST, http_port));
            let out = folder.path().join(member.name.as_str());
            let issue = IssueArgs { ca: ca.clone(), out, cluster: None, days: DAYS };
            nodes.push(make_node(args, member, &members, issue, http)?);
        }
        Ok(Self { _folder: folder, nodes })
    }
}

/// Names and addresses. The ports are the system's choice, held together until all are known, and
/// free again for the nodes that follow.
fn members(count: u8) -> io::Result<Vec<MemberAddress>> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets: io::Result<Vec<UdpSocket>> = (0..count).map(bind).collect();
    let mut members = Vec::new();
    for (number, socket) in (1..).zip(&sockets?) {
        let name = format!("n{number}").parse().map_err(invalid)?;
        members.push(MemberAddress { name, address: socket.local_addr()?.to_string() });
    }
    Ok(members)
}

fn make_node(
    demo: &DemoArgs,
    member: &MemberAddress,
    members: &[MemberAddress],
    issue: IssueArgs,
    http: SocketAddr,
) -> Result<NodeSetup, DemoError> {
    let config = issue.out.join(cert::NODE_CONFIG);
    let name = member.name.clone();
    let (listen, members) = (None, members.to_vec());
    let args = NodeArgs { name: name.clone(), issue, listen, members, fixed: false, http };
    cert::node(&args)?;
    let variables = BTreeMap::from([
        ("REPLICA__REPLICATION__MODE", demo.spread.clone()),
        // The page is served without TLS, and nothing but this cookie tells its visitor.
        ("REPLICA__SESSION__COOKIE__SECURE", "false".to_owned()),
        ("REPLICA__SESSION__COOKIE__NAME", "demo".to_owned()),
        // No balancer has to notice: the one of the demonstration looks all the time.
        ("REPLICA__NODE__DRAIN_GRACE", "0s".to_owned()),
        ("REPLICA__LIMITS__REPAIR_INTERVAL", "1s".to_owned()),
    ]);
    // Here rather than in each of the processes: what cannot start is said once.
    Config::load_with(&[&config], &variables)
        .and_then(|config| config.check_start(&name))
        .map_err(|source| DemoError::Config { spread: demo.spread.clone(), source })?;
    Ok(NodeSetup { name, config, variables })
}

/// The names of a demonstration are valid, so nobody sees this.
fn invalid(error: transport::NameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
