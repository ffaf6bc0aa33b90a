//! The configuration that goes with a new certificate: complete, so that the node starts with it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use transport::{ClusterName, NodeName};

use super::{CA_CERT, CertError, MemberAddress, NODE_CERT, NODE_KEY, TOKEN_KEYS};
use crate::cli::NodeArgs;

/// Port for the other nodes where nothing else is said (UDP).
const QUIC_PORT: u16 = 7001;

/// What `node.toml` says; `Display` is its text.
pub(super) struct NodeConfig {
    cluster: ClusterName,
    name: NodeName,
    listen: SocketAddr,
    members: BTreeMap<NodeName, String>,
    is_fixed: bool,
    http: SocketAddr,
}

impl NodeConfig {
    /// Fills in what was not said where it follows from the rest.
    pub(super) fn new(cluster: &ClusterName, args: &NodeArgs) -> Result<Self, CertError> {
        let mut members = BTreeMap::new();
        for MemberAddress { name, address } in &args.members {
            if members.insert(name.clone(), address.clone()).is_some() {
                return Err(CertError::MemberTwice(name.clone()));
            }
        }
        let own = members.get(&args.name).cloned();
        let listen = match (args.listen, &own) {
            (Some(listen), _) => listen,
            (None, Some(own)) => listen_for(own),
            (None, None) => (Ipv4Addr::LOCALHOST, QUIC_PORT).into(),
        };
        if own.is_none() {
            let is_alone = members.is_empty() && args.listen.is_none();
            // Nobody reaches a wildcard, and what was not said the others cannot know either.
            let is_reached = args.listen.is_some_and(|listen| !listen.ip().is_unspecified());
            if !is_alone && !is_reached {
                return Err(CertError::NoAddress(args.name.clone()));
            }
            members.insert(args.name.clone(), listen.to_string());
        }
        Ok(Self {
            cluster: cluster.clone(),
            name: args.name.clone(),
            listen,
            members,
            is_fixed: args.fixed,
            http: args.http,
        })
    }

    /// What the person who made it should know; empty or a line.
    pub(super) fn advice(&self) -> &'static str {
        if self.is_alone() {
            "It is alone so far: give every node of the cluster with --member, to each of them.\n"
        } else {
            ""
        }
    }

    fn is_alone(&self) -> bool {
        self.members.len() == 1
    }
}

/// Loopback and nothing else for an address on loopback, all interfaces for any other: behind a
/// name or a translated address there may be another one.
fn listen_for(own: &str) -> SocketAddr {
    let port = own.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(QUIC_PORT);
    match own.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => address,
        Ok(SocketAddr::V6(_)) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into(),
        Ok(SocketAddr::V4(_)) | Err(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into(),
    }
}

impl fmt::Display for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, name, listen, http, .. } = self;
        writeln!(
            f,
            "# Node {name} of the cluster {cluster}. What is not said here has its default;\n\
             # configs/node.toml of the project explains every key.\n\n\
             [node]\nname = \"{name}\"\nlisten = \"{listen}\""
        )?;
        if !self.is_fixed {
            let own = self.members.get(name).map_or("", String::as_str);
            writeln!(
                f,
                "# Where the others reach this node (UDP).\n\
                 advertise = {}\n\
                 # Who is a member is kept here: on a disk that outlives the process.\n\
                 data_dir = \"data\"",
                quoted(own),
            )?;
        }
        writeln!(f, "\n[cluster]\nname = \"{cluster}\"")?;
        if self.is_fixed {
            writeln!(
                f,
                "\n# All nodes and where the others reach them (UDP); the same on every node.\n\
                 [cluster.members]"
            )?;
            for (member, address) in &self.members {
                writeln!(f, "{member} = {}", quoted(address))?;
            }
        } else if self.is_alone() {
            writeln!(
                f,
                "# This node founds a cluster alone; others find it by its address as their seed.\n\
                 seeds = []"
            )?;
        } else {
            let seeds: Vec<String> = self.members.values().map(|seed| quoted(seed)).collect();
            writeln!(
                f,
                "# Where a start looks for the others; the same on every node.\n\
                 seeds = [{}]\n\
                 # So many are there before they found a cluster: all that start together.\n\
                 expect = {}",
                seeds.join(", "),
                seeds.len(),
            )?;
        }
        let ack = if self.is_alone() {
            "# Alone there is nobody to wait for; \"one\" is right for two nodes or more.\nack = \"local\""
        } else {
            "# A request is answered when one other node has its writes.\nack = \"one\""
        };
        writeln!(
            f,
            "\n[replication]\n{ack}\n\n\
             [session]\ntoken_keys = \"{TOKEN_KEYS}\"\n\n\
             [tls]\nca = \"{CA_CERT}\"\ncert = \"{NODE_CERT}\"\nkey = \"{NODE_KEY}\"\n\n\
             # For the program that embeds the library; replica-node serves HTTP here.\n\
             [app]\nhttp = \"{http}\""
        )
    }
}

/// A text of a person as a TOML string: every escape of JSON is one of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_listens_where_its_address_leads() {
        for (own, listen) in [
            ("127.0.0.1:7002", "127.0.0.1:7002"),
            ("[::1]:7002", "[::1]:7002"),
            ("10.0.0.1:7002", "0.0.0.0:7002"),
            ("[2001:db8::1]:7002", "[::]:7002"),
            ("n1.example:7002", "0.0.0.0:7002"),
        ] {
            assert_eq!(listen_for(own).to_string(), listen, "{own}");
        }
    }
}
