//! Who this node is: its certificate and key, and the authority that all nodes of the cluster
//! trust, read from PEM files and checked before anything is started with them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::name::{ClusterName, NodeName};
use crate::subject::{Subject, SubjectError};

/// Largest PEM file that is read, in bytes. A chain of certificates has a few thousand.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// Where certificate and key of a node lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    /// Certificates of the authorities that are trusted (PEM, one or more).
    pub ca: PathBuf,
    /// Certificate of this node, intermediates after it (PEM).
    pub cert: PathBuf,
    /// Private key of this node (PEM).
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
    /// Others than its owner may read the private key, and so be this node.
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
    #[error("the private key {path} is unusable; issue it again with `cert node`")]
    UnusableKey {
        /// The key.
        path: PathBuf,
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
        "the certificate {path} has expired; issue a new one with `cert node`, or correct this machine's clock"
    )]
    Expired {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate is not valid yet.
    #[error(
        "the certificate {path} is not valid yet; correct this machine's clock, or issue it again with `cert node`"
    )]
    NotYetValid {
        /// The certificate.
        path: PathBuf,
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
        "the certificate {path} is for cluster {found}, this node is configured for {expected}; correct `cluster.name`, or issue a certificate for {expected}"
    )]
    OtherCluster {
        /// The certificate.
        path: PathBuf,
        /// The cluster in the certificate.
        found: ClusterName,
        /// The cluster of the configuration.
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
    /// The certificate names no node.
    #[error("the certificate {path} names no node: {source}; issue it with `cert node`")]
    NoNode {
        /// The certificate.
        path: PathBuf,
        /// What is wrong with its name.
        source: NoNodeName,
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
            | Self::NoNode { .. } => TlsFile::Cert,
        }
    }
}

/// Why a certificate names no node.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct NoNodeName(#[from] SubjectError);

/// Certificate, key and trusted authorities of one node, checked against each other.
///
/// `Debug` shows the names only.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    paths: TlsPaths,
    name: NodeName,
    cluster: ClusterName,
    authorities: Vec<CertificateDer<'static>>,
    certified: Arc<CertifiedKey>,
    /// For keys that must be the same after a restart.
    secret: hmac::Key,
    fingerprint: Fingerprint,
}

/// Digest of the three files, to notice that they have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<u8>);

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
        let files = Files::read(paths)?;
        check_private(&paths.key)?;
        let authorities = certificates(TlsFile::Ca, &paths.ca, &files.ca)?;
        let chain = certificates(TlsFile::Cert, &paths.cert, &files.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| IdentityError::NotPem { what: TlsFile::Key, path: paths.key.clone() })?;
        let name = node_name(&paths.cert, &chain[0], cluster)?;
        check_issued(paths, &authorities, &chain)?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, key.secret_der());
        let certified = certify(paths, chain, key)?;
        Ok(Self(Arc::new(Inner {
            paths: paths.clone(),
            name,
            cluster: cluster.clone(),
            authorities,
            certified,
            secret,
            fingerprint: files.fingerprint(),
        })))
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
        let fingerprint = Files::read(&self.0.paths)?.fingerprint();
        if fingerprint == *seen {
            return Ok(None);
        }
        let identity = Self::load(&self.0.paths, &self.0.cluster);
        Ok(Some(Reload { fingerprint, identity }))
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint.clone()
    }

    pub(crate) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.0.authorities
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.0.certified.clone()
    }

    /// 32 bytes that only this key yields, the same after every restart; one use, one `label`.
    pub(crate) fn derive(&self, label: &str) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.0.secret, label.as_bytes()).as_ref());
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

/// The only cryptography of this crate. Passed explicitly everywhere, so that another provider
/// in the tree of an application changes nothing here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

struct Files {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(paths: &TlsPaths) -> Result<Self, IdentityError> {
        Ok(Self {
            ca: read_file(TlsFile::Ca, &paths.ca)?,
            cert: read_file(TlsFile::Cert, &paths.cert)?,
            key: read_file(TlsFile::Key, &paths.key)?,
        })
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut all = Vec::new();
        for file in [&self.ca, &self.cert, &self.key] {
            all.extend_from_slice(digest::digest(&digest::SHA256, file).as_ref());
        }
        Fingerprint(all)
    }
}

fn read_file(what: TlsFile, path: &Path) -> Result<Vec<u8>, IdentityError> {
    use io::Read;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| IdentityError::Read { what, path: path.to_owned(), source })
}

/// That nobody but its owner may do anything with a file.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;

    /// Reading, writing and executing for the group and for others.
    const OTHERS: u32 = 0o077;

    let failed = |source| IdentityError::Read { what: TlsFile::Key, path: path.to_owned(), source };
    let permissions = path.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if permissions & OTHERS == 0 {
        return Ok(());
    }
    Err(IdentityError::Exposed { path: path.to_owned(), permissions })
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), IdentityError> {
    Ok(())
}

/// All certificates of a PEM file, at least one.
fn certificates(
    what: TlsFile,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(IdentityError::NotPem { what, path: path.to_owned() }),
    }
}

fn node_name(
    path: &Path,
    certificate: &CertificateDer<'_>,
    expected: &ClusterName,
) -> Result<NodeName, IdentityError> {
    let path = || path.to_owned();
    match Subject::read(certificate) {
        Ok(Subject::Node { name, cluster }) if cluster == *expected => Ok(name),
        Ok(Subject::Node { cluster: found, .. }) => {
            Err(IdentityError::OtherCluster { path: path(), found, expected: expected.clone() })
        }
        Ok(Subject::Operator { .. } | Subject::Authority { .. }) => {
            Err(IdentityError::NotANode { path: path() })
        }
        Err(source) => Err(IdentityError::NoNode { path: path(), source: source.into() }),
    }
}

/// What every peer will check, checked here first, where the message can name the file.
fn check_issued(
    paths: &TlsPaths,
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
) -> Result<(), IdentityError> {
    let unusable = |what, path: &Path, detail| {
        let path = path.to_owned();
        IdentityError::Unusable { what, path, detail }
    };
    let anchors: Vec<TrustAnchor<'_>> = authorities
        .iter()
        .map(|ca| {
            anchor_from_trusted_cert(ca).map_err(|detail| unusable(TlsFile::Ca, &paths.ca, detail))
        })
        .collect::<Result<_, _>>()?;
    let certificate = EndEntityCert::try_from(&chain[0])
        .map_err(|detail| unusable(TlsFile::Cert, &paths.cert, detail))?;
    let algorithms = provider().signature_verification_algorithms.all;
    // A node is the server of some connections and the client of others.
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let now = UnixTime::now();
        certificate
            .verify_for_usage(algorithms, &anchors, &chain[1..], now, usage, None, None)
            .map_err(|detail| refused(paths, detail))?;
    }
    Ok(())
}

fn refused(paths: &TlsPaths, detail: webpki::Error) -> IdentityError {
    let path = paths.cert.clone();
    if matches!(detail, webpki::Error::CertExpired { .. }) {
        IdentityError::Expired { path }
    } else if matches!(detail, webpki::Error::CertNotValidYet { .. }) {
        IdentityError::NotYetValid { path }
    } else if matches!(
        detail,
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey
    ) {
        IdentityError::OtherAuthority { cert: path, ca: paths.ca.clone() }
    } else {
        IdentityError::Unusable { what: TlsFile::Cert, path, detail }
    }
}

fn certify(
    paths: &TlsPaths,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, IdentityError> {
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(IdentityError::KeyMismatch { cert: paths.cert.clone(), key: paths.key.clone() })
        }
        Err(_) => Err(IdentityError::UnusableKey { path: paths.key.clone() }),
    }
}
