//! Certificate, key and authorities, read from PEM files and checked against each other before
//! anything is started with them: exposed, cut, expired and mixed-up files are found here.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::identity::{Holder, IdentityError, NoHolderName, PEM_BYTES_MAX, TlsFile, TlsPaths};
use crate::name::{ClusterName, NodeName};
use crate::subject::Subject;

/// What is needed to show who one is, and to check who the others are.
pub(crate) struct Credentials {
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) certified: Arc<CertifiedKey>,
    /// For keys that must be the same after a restart.
    pub(crate) secret: hmac::Key,
    pub(crate) fingerprint: Fingerprint,
}

/// Digest of the three files, to notice that they have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<u8>);

/// What the files are now.
pub(crate) fn fingerprint(paths: &TlsPaths) -> Result<Fingerprint, IdentityError> {
    Ok(Files::read(paths)?.fingerprint())
}

impl Credentials {
    /// Those of a node of this cluster, with its name.
    pub(crate) fn of_node(
        paths: &TlsPaths,
        cluster: &ClusterName,
    ) -> Result<(NodeName, Self), IdentityError> {
        Self::load(paths, Holder::Node, |certificate| node_name(&paths.cert, certificate, cluster))
    }

    /// Those of an operator of this cluster, with the name.
    pub(crate) fn of_operator(
        paths: &TlsPaths,
        cluster: &ClusterName,
    ) -> Result<(NodeName, Self), IdentityError> {
        Self::load(paths, Holder::Operator, |certificate| {
            operator_name(&paths.cert, certificate, cluster)
        })
    }

    fn load(
        paths: &TlsPaths,
        holder: Holder,
        name: impl FnOnce(&CertificateDer<'_>) -> Result<NodeName, IdentityError>,
    ) -> Result<(NodeName, Self), IdentityError> {
        let files = Files::read(paths)?;
        check_private(&paths.key)?;
        let authorities = certificates(TlsFile::Ca, &paths.ca, &files.ca)?;
        let chain = certificates(TlsFile::Cert, &paths.cert, &files.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| IdentityError::NotPem { what: TlsFile::Key, path: paths.key.clone() })?;
        let name = name(&chain[0])?;
        check_issued(paths, holder, &authorities, &chain)?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, key.secret_der());
        let certified = certify(paths, holder, chain, key)?;
        let fingerprint = files.fingerprint();
        Ok((name, Self { authorities, certified, secret, fingerprint }))
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
    match subject(path, certificate, Holder::Node)? {
        Subject::Node { name, cluster } => of_cluster(path, name, cluster, expected),
        Subject::Operator { .. } | Subject::Authority { .. } => {
            Err(IdentityError::NotANode { path: path.to_owned() })
        }
    }
}

fn operator_name(
    path: &Path,
    certificate: &CertificateDer<'_>,
    expected: &ClusterName,
) -> Result<NodeName, IdentityError> {
    match subject(path, certificate, Holder::Operator)? {
        Subject::Operator { name, cluster } => of_cluster(path, name, cluster, expected),
        Subject::Node { .. } | Subject::Authority { .. } => {
            Err(IdentityError::NotAnOperator { path: path.to_owned() })
        }
    }
}

fn subject(
    path: &Path,
    certificate: &CertificateDer<'_>,
    holder: Holder,
) -> Result<Subject, IdentityError> {
    Subject::read(certificate).map_err(|problem| {
        let source = NoHolderName::new(problem);
        IdentityError::NoHolder { path: path.to_owned(), holder, source }
    })
}

fn of_cluster(
    path: &Path,
    name: NodeName,
    found: ClusterName,
    expected: &ClusterName,
) -> Result<NodeName, IdentityError> {
    if found == *expected {
        return Ok(name);
    }
    Err(IdentityError::OtherCluster { path: path.to_owned(), found, expected: expected.clone() })
}

/// What the other side will check, checked here first, where the message can name the file.
fn check_issued(
    paths: &TlsPaths,
    holder: Holder,
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
    let usages = match holder {
        Holder::Node => &[KeyUsage::server_auth(), KeyUsage::client_auth()][..],
        Holder::Operator => &[KeyUsage::client_auth()],
    };
    for usage in usages.iter().copied() {
        let now = UnixTime::now();
        certificate
            .verify_for_usage(algorithms, &anchors, &chain[1..], now, usage, None, None)
            .map_err(|detail| refused(paths, holder, detail))?;
    }
    Ok(())
}

fn refused(paths: &TlsPaths, holder: Holder, detail: webpki::Error) -> IdentityError {
    let path = paths.cert.clone();
    if matches!(detail, webpki::Error::CertExpired { .. }) {
        IdentityError::Expired { path, holder }
    } else if matches!(detail, webpki::Error::CertNotValidYet { .. }) {
        IdentityError::NotYetValid { path, holder }
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
    holder: Holder,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, IdentityError> {
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(IdentityError::KeyMismatch { cert: paths.cert.clone(), key: paths.key.clone() })
        }
        Err(_) => Err(IdentityError::UnusableKey { path: paths.key.clone(), holder }),
    }
}
