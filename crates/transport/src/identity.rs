//! Who a node or an operator is: certificate and key, and the authority that all of the cluster
//! trust. How the files are read and checked is in [`credentials`](crate::credentials).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::hmac;
use thiserror::Error;

use crate::credentials::{Credentials, Fingerprint, fingerprint};
use crate::name::{ClusterName, NodeName};
use crate::subject::SubjectError;

/// Largest PEM file that is read, in bytes. A chain of certificates has a few thousand.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// Where certificate and key of a node or an operator lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    /// Certificates of the authorities that are trusted (PEM, one or more).
    pub ca: PathBuf,
    /// Certificate of the node or operator, intermediates after it (PEM).
    pub cert: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
}

/// One of the files of [`TlsPaths`]. `Display` says what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsPaths::ca`].
    Ca,
    /// [`TlsPaths::cert`].
    Cert,
    /// [`TlsPaths::key`].
    Key,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "CA certificate",
            Self::Cert => "certificate",
            Self::Key => "private key",
        })
    }
}

/// Whom a certificate is for. `Display` is the word after `cert` that issues one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A node.
    Node,
    /// An operator.
    Operator,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Operator => "operator",
        })
    }
}

/// Why the files do not make an identity. Each message names file, problem and remedy.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file is missing or cannot be read.
    #[error("cannot read {what} {path}: {source}; make it with `cert`, or correct the path")]
    Read {
        /// What the file should hold.
        what: TlsFile,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may read the private key, and so be whom it is for.
    #[error(
        "the private key {path} can be read by others (permissions {permissions:04o}); run: chmod 600 {path}"
    )]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its permissions.
        permissions: u32,
    },
    /// A file holds no PEM section of the kind expected.
    #[error("{path} holds no {what} in PEM form; give the file that `cert` wrote")]
    NotPem {
        /// What the file should hold.
        what: TlsFile,
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be used at all.
    #[error("the {what} {path} is unusable: {detail:?}; give the file that `cert` wrote")]
    Unusable {
        /// What the file should hold.
        what: TlsFile,
        /// The file.
        path: PathBuf,
        /// What the check of the certificate said.
        detail: webpki::Error,
    },
    /// The private key cannot be used at all.
    #[error("the private key {path} is unusable; issue it again with `cert {holder}`")]
    UnusableKey {
        /// The key.
        path: PathBuf,
        /// Whose it should be.
        holder: Holder,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the key {key} does not belong to the certificate {cert}; give the pair that was issued together"
    )]
    KeyMismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate is no longer valid.
    #[error(
        "the certificate {path} has expired; issue a new one with `cert {holder}`, or correct this machine's clock"
    )]
    Expired {
        /// The certificate.
        path: PathBuf,
        /// Whose it is.
        holder: Holder,
    },
    /// The certificate is not valid yet.
    #[error(
        "the certificate {path} is not valid yet; correct this machine's clock, or issue it again with `cert {holder}`"
    )]
    NotYetValid {
        /// The certificate.
        path: PathBuf,
        /// Whose it is.
        holder: Holder,
    },
    /// The certificate was issued by another authority.
    #[error(
        "the certificate {cert} was not issued by the authority in {ca}; issue it with the authority of this cluster"
    )]
    OtherAuthority {
        /// The certificate.
        cert: PathBuf,
        /// The authority.
        ca: PathBuf,
    },
    /// The certificate is for another cluster.
    #[error(
        "the certificate {path} is for cluster {found}, not for {expected}; correct the name of the cluster (`cluster.name`), or issue a certificate for {expected}"
    )]
    OtherCluster {
        /// The certificate.
        path: PathBuf,
        /// The cluster in the certificate.
        found: ClusterName,
        /// The cluster that it should be for.
        expected: ClusterName,
    },
    /// The certificate is an operator's or the authority's own.
    #[error(
        "the certificate {path} is an operator's or the authority's, not a node's; issue one \
         with `cert node`"
    )]
    NotANode {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate is a node's or the authority's own.
    #[error(
        "the certificate {path} is a node's or the authority's, not an operator's; issue one \
         with `cert operator`"
    )]
    NotAnOperator {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate names nobody.
    #[error("the certificate {path} names no {holder}: {source}; issue it with `cert {holder}`")]
    NoHolder {
        /// The certificate.
        path: PathBuf,
        /// Whom it should name.
        holder: Holder,
        /// What is wrong with its name.
        source: NoHolderName,
    },
}

impl IdentityError {
    /// The file that is to be mended: where two do not fit together, the one of this node alone.
    pub fn file(&self) -> TlsFile {
        match self {
            Self::Read { what, .. } | Self::NotPem { what, .. } | Self::Unusable { what, .. } => {
                *what
            }
            Self::Exposed { .. } | Self::UnusableKey { .. } | Self::KeyMismatch { .. } => {
                TlsFile::Key
            }
            Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::OtherAuthority { .. }
            | Self::OtherCluster { .. }
            | Self::NotANode { .. }
            | Self::NotAnOperator { .. }
            | Self::NoHolder { .. } => TlsFile::Cert,
        }
    }
}

/// Why a certificate names nobody.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct NoHolderName(SubjectError);

impl NoHolderName {
    pub(crate) fn new(problem: SubjectError) -> Self {
        Self(problem)
    }
}

/// Certificate, key and trusted authorities of one node, checked against each other.
///
/// `Debug` shows the names only.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    paths: TlsPaths,
    name: NodeName,
    cluster: ClusterName,
    credentials: Credentials,
}

/// Files that have changed.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) identity: Result<Identity, IdentityError>,
}

impl Identity {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// Each [`IdentityError`] names the file, the problem and the remedy.
    pub fn load(paths: &TlsPaths, cluster: &ClusterName) -> Result<Self, IdentityError> {
        let (name, credentials) = Credentials::of_node(paths, cluster)?;
        let (paths, cluster) = (paths.clone(), cluster.clone());
        Ok(Self(Arc::new(Inner { paths, name, cluster, credentials })))
    }

    /// The name of this node, from its certificate.
    pub fn name(&self) -> &NodeName {
        &self.0.name
    }

    /// The cluster of this node.
    pub fn cluster(&self) -> &ClusterName {
        &self.0.cluster
    }

    /// The files that this identity was read from.
    pub fn paths(&self) -> &TlsPaths {
        &self.0.paths
    }

    /// Reads the files again if their contents are not those `seen`; `None` if they are.
    pub(crate) fn reload(&self, seen: &Fingerprint) -> Result<Option<Reload>, IdentityError> {
        let fingerprint = fingerprint(&self.0.paths)?;
        if fingerprint == *seen {
            return Ok(None);
        }
        let identity = Self::load(&self.0.paths, &self.0.cluster);
        Ok(Some(Reload { fingerprint, identity }))
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// 32 bytes that only this key yields, the same after every restart; one use, one `label`.
    pub(crate) fn derive(&self, label: &str) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.0.credentials.secret, label.as_bytes()).as_ref());
        out
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.0.name)
            .field("cluster", &self.0.cluster)
            .finish_non_exhaustive()
    }
}

/// Certificate, key and trusted authorities of one operator, checked against each other.
///
/// `Debug` shows the names only.
#[derive(Clone)]
pub struct OperatorIdentity(Arc<OperatorInner>);

struct OperatorInner {
    name: NodeName,
    cluster: ClusterName,
    credentials: Credentials,
}

impl OperatorIdentity {
    /// Reads and checks the files, as carefully as those of a node.
    ///
    /// # Errors
    /// Each [`IdentityError`] names the file, the problem and the remedy.
    pub fn load(paths: &TlsPaths, cluster: &ClusterName) -> Result<Self, IdentityError> {
        let (name, credentials) = Credentials::of_operator(paths, cluster)?;
        Ok(Self(Arc::new(OperatorInner { name, cluster: cluster.clone(), credentials })))
    }

    /// The name of the operator, from the certificate.
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// The cluster that the operator operates.
    pub fn cluster(&self) -> &ClusterName {
        &self.0.cluster
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }
}

impl fmt::Debug for OperatorIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorIdentity")
            .field("name", &self.0.name)
            .field("cluster", &self.0.cluster)
            .finish_non_exhaustive()
    }
}
