//! `replica-node cert`: the authority of a cluster, and folders with all that its nodes need.
//! How certificates are made is known to `transport`; this decides what lies where.

mod files;
mod node_config;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use replica::config::ConfigError;
use thiserror::Error;
use transport::issue::{Ca, IssueError, Readers, Validity};
use transport::{ClusterName, NodeName};

use crate::cli::{AuthorityArgs, IssueArgs, NodeArgs, OperatorArgs};
use files::NewFiles;
use node_config::NodeConfig;

const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const TOKEN_KEYS: &str = "token.keys";
const NODE_CERT: &str = "node.pem";
const NODE_KEY: &str = "node.key";

/// The configuration that `cert node` writes.
pub(crate) const NODE_CONFIG: &str = "node.toml";

/// Why nothing was written.
#[derive(Debug, Error)]
pub(crate) enum CertError {
    #[error("{} exists and is never overwritten; choose another --out, or move it away", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {source}; choose another --out", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot read {}: {source}; give the folder that `cert ca` wrote with --ca", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "--cluster {asked}: the authority in {} is for the cluster {found}; \
         correct the name, or give the folder of the other authority with --ca",
        ca.display()
    )]
    OtherCluster { asked: ClusterName, found: ClusterName, ca: PathBuf },
    #[error("--member {0} is given twice; give each node once")]
    MemberTwice(NodeName),
    #[error(
        "it is not known where the others reach {0}; add --member {0}=HOST:PORT to those of the others"
    )]
    NoAddress(NodeName),
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The names and addresses that were given do not make a configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// `--member NAME=HOST:PORT`. The address is checked with the configuration that it goes into.
#[derive(Debug, Clone)]
pub(crate) struct MemberAddress {
    pub(crate) name: NodeName,
    pub(crate) address: String,
}

impl FromStr for MemberAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) =
            text.split_once('=').ok_or("write it as NAME=HOST:PORT, such as n1=10.0.0.1:7001")?;
        let name = name.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { name, address: address.to_owned() })
    }
}

/// `cert ca`
pub(crate) fn authority(args: &AuthorityArgs) -> Result<String, CertError> {
    let ca = Ca::create(&args.cluster, Validity::days(args.days))?;
    let mut files = NewFiles::new(&args.out);
    files.add(CA_CERT, ca.files().cert_pem.clone(), Readers::Public);
    files.add(CA_KEY, ca.files().key_pem.clone(), Readers::Secret);
    files.add(TOKEN_KEYS, token_keys(&args.cluster), Readers::Secret);
    let written = files.write()?;
    let out = args.out.display();
    Ok(format!(
        "The authority of the cluster {}:\n{written}\
         Keep {CA_KEY} where no node can read it: whoever has it can make nodes.\n\
         Next: replica-node cert node n1 --ca {out} --out n1 \
         --member n1=HOST:7001 --member n2=HOST:7001\n",
        args.cluster
    ))
}

/// `cert node`
pub(crate) fn node(args: &NodeArgs) -> Result<String, CertError> {
    let ca = load(&args.issue)?;
    let config = NodeConfig::new(ca.cluster(), args)?;
    let text = config.to_string();
    // What is wrong with the names and addresses is found here and not when the node starts.
    replica::Config::from_toml(&text, &args.issue.out)?;
    let token_keys = read(&args.issue.ca.join(TOKEN_KEYS))?;
    let issued = ca.node(&args.name, Validity::days(args.issue.days))?;
    let mut files = NewFiles::new(&args.issue.out);
    files.add(CA_CERT, ca.files().cert_pem.clone(), Readers::Public);
    files.add(NODE_CERT, issued.cert_pem, Readers::Public);
    files.add(NODE_KEY, issued.key_pem, Readers::Secret);
    files.add(TOKEN_KEYS, token_keys, Readers::Secret);
    files.add(NODE_CONFIG, text, Readers::Public);
    let written = files.write()?;
    let path = args.issue.out.join(NODE_CONFIG);
    Ok(format!(
        "Node {} of the cluster {}:\n{written}{}Next: replica-node run --config {}\n",
        args.name,
        ca.cluster(),
        config.advice(),
        path.display()
    ))
}

/// `cert operator`
pub(crate) fn operator(args: &OperatorArgs) -> Result<String, CertError> {
    let ca = load(&args.issue)?;
    let issued = ca.operator(&args.name, Validity::days(args.issue.days))?;
    let mut files = NewFiles::new(&args.issue.out);
    files.add(CA_CERT, ca.files().cert_pem.clone(), Readers::Public);
    files.add(&format!("{}.pem", args.name), issued.cert_pem, Readers::Public);
    files.add(&format!("{}.key", args.name), issued.key_pem, Readers::Secret);
    let written = files.write()?;
    Ok(format!(
        "Operator {} of the cluster {}:\n{written}\
         Next: replica-node status --node HOST:7001 --as {}\n",
        args.name,
        ca.cluster(),
        args.issue.out.display()
    ))
}

fn load(args: &IssueArgs) -> Result<Ca, CertError> {
    let ca = Ca::load(&args.ca.join(CA_CERT), &args.ca.join(CA_KEY))?;
    match &args.cluster {
        Some(asked) if asked != ca.cluster() => Err(CertError::OtherCluster {
            asked: asked.clone(),
            found: ca.cluster().clone(),
            ca: args.ca.clone(),
        }),
        _ => Ok(ca),
    }
}

fn read(path: &Path) -> Result<String, CertError> {
    std::fs::read_to_string(path)
        .map_err(|source| CertError::Read { path: path.to_owned(), source })
}

fn token_keys(cluster: &ClusterName) -> String {
    format!(
        "# Keys of the token cookies of the cluster {cluster}, the same on every node. One key a \
         line:\n# the first signs, all verify. To replace a key, put a new one before it.\n{}\n",
        replica::config::generate_token_key()
    )
}
