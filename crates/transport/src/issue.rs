//! Writing certificates: a cluster's own authority, its nodes, its operators.
//!
//! The authority of a cluster carries the name `CLUSTER.replica.internal`, so that everything
//! that it issues can be derived from its two files.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;

use crate::name::{ClusterName, NodeName};
use crate::subject::{self, Subject};

/// A certificate is valid a little before it is issued, for machines whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a certificate could not be issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The library that writes certificates refused.
    #[error("cannot write the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file of the authority cannot be read.
    #[error("cannot read {path}: {source}; make an authority with `cert ca`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate of the authority was not written by [`Ca::create`].
    #[error("{path} is not the certificate of a cluster's authority; make one with `cert ca`")]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
    },
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub from: SystemTime,
    /// Last moment.
    pub until: SystemTime,
}

impl Validity {
    /// From an hour ago for so many days.
    pub fn days(days: u16) -> Self {
        let now = SystemTime::now();
        Self { from: now - CLOCK_SKEW, until: now + DAY * u32::from(days) }
    }
}

/// A certificate and its private key, both PEM. `Debug` hides the key.
pub struct CertAndKey {
    /// The certificate.
    pub cert_pem: String,
    /// The private key; secret.
    pub key_pem: String,
}

impl fmt::Debug for CertAndKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertAndKey").finish_non_exhaustive()
    }
}

/// The authority of one cluster: whoever it names belongs to the cluster.
pub struct Ca {
    cluster: ClusterName,
    issuer: Issuer<'static, KeyPair>,
    files: CertAndKey,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Ca {
    /// Makes a new authority with a new key.
    ///
    /// # Errors
    /// [`IssueError::Certificate`] if the library refuses, for example an empty validity.
    pub fn create(cluster: &ClusterName, validity: Validity) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let params = authority_params(cluster, validity)?;
        let cert_pem = params.self_signed(&key)?.pem();
        let files = CertAndKey { cert_pem, key_pem: key.serialize_pem() };
        Ok(Self { cluster: cluster.clone(), issuer: Issuer::new(params, key), files })
    }

    /// Reads an authority that [`create`](Self::create) made.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or is no authority's.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, IssueError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|source| IssueError::Read { path: path.to_owned(), source })
        };
        let files = CertAndKey { cert_pem: read(cert)?, key_pem: read(key)? };
        let not_an_authority = || IssueError::NotAnAuthority { path: cert.to_owned() };
        let der = CertificateDer::from_pem_slice(files.cert_pem.as_bytes())
            .map_err(|_| not_an_authority())?;
        let Ok(Subject::Authority { cluster }) = Subject::read(&der) else {
            return Err(not_an_authority());
        };
        let key = KeyPair::from_pem(&files.key_pem)?;
        // Only the distinguished name is taken over into what is issued, and it is a function
        // of the cluster; the validity here is not used.
        let params = authority_params(&cluster, Validity::days(1))?;
        Ok(Self { cluster, issuer: Issuer::new(params, key), files })
    }

    /// The cluster that this authority is for.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The two files of the authority itself.
    pub fn files(&self) -> &CertAndKey {
        &self.files
    }

    /// Issues the certificate of a node.
    ///
    /// # Errors
    /// [`IssueError::Certificate`] if the library refuses.
    pub fn node(&self, name: &NodeName, validity: Validity) -> Result<CertAndKey, IssueError> {
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let dns_name = subject::node_dns_name(name, &self.cluster);
        self.issue(&[&dns_name], &usages, validity)
    }

    /// Issues the certificate of an operator. Nodes do not accept it as a node's.
    ///
    /// # Errors
    /// [`IssueError::Certificate`] if the library refuses.
    pub fn operator(&self, name: &NodeName, validity: Validity) -> Result<CertAndKey, IssueError> {
        let usages = [ExtendedKeyUsagePurpose::ClientAuth];
        let dns_name = subject::operator_dns_name(name, &self.cluster);
        self.issue(&[&dns_name], &usages, validity)
    }

    /// Issues a certificate for any names: what an authority of ours never does.
    ///
    /// # Errors
    /// [`IssueError::Certificate`] if the library refuses.
    #[cfg(feature = "hostile-testing")]
    pub fn forge(&self, dns_names: &[&str], validity: Validity) -> Result<CertAndKey, IssueError> {
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(dns_names, &usages, validity)
    }

    fn issue(
        &self,
        dns_names: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        validity: Validity,
    ) -> Result<CertAndKey, IssueError> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = dns_names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name(dns_names.first().unwrap_or(&""));
        params.not_before = validity.from.into();
        params.not_after = validity.until.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(CertAndKey { cert_pem, key_pem: key.serialize_pem() })
    }
}

fn authority_params(
    cluster: &ClusterName,
    validity: Validity,
) -> Result<CertificateParams, IssueError> {
    let dns_name = subject::authority_dns_name(cluster);
    let mut params = CertificateParams::new(vec![dns_name.clone()])?;
    params.distinguished_name = common_name(&dns_name);
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    // It issues nodes and operators, no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Everybody (0644): certificates, configurations.
    Public,
    /// The owner alone (0600): keys.
    Secret,
}

/// Writes a file that does not exist yet.
///
/// # Errors
/// `AlreadyExists` if there is a file of this name: nothing is ever overwritten. Otherwise
/// what the system says.
pub fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(match readers {
            Readers::Public => 0o644,
            Readers::Secret => 0o600,
        });
    }
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_and_nothing_is_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write_new(&path, b"first", Readers::Secret).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = write_new(&path, b"second", Readers::Secret).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_loaded_authority_issues_like_the_one_that_was_created() {
        let dir = tempfile::tempdir().unwrap();
        let cluster: ClusterName = "c1".parse().unwrap();
        let ca = Ca::create(&cluster, Validity::days(10)).unwrap();
        let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        write_new(&cert, ca.files().cert_pem.as_bytes(), Readers::Public).unwrap();
        write_new(&key, ca.files().key_pem.as_bytes(), Readers::Secret).unwrap();
        let loaded = Ca::load(&cert, &key).unwrap();
        assert_eq!(loaded.cluster(), &cluster);
        let node = loaded.node(&"n1".parse().unwrap(), Validity::days(5)).unwrap();
        let paths = crate::TlsPaths {
            ca: cert.clone(),
            cert: dir.path().join("n1.pem"),
            key: dir.path().join("n1.key"),
        };
        write_new(&paths.cert, node.cert_pem.as_bytes(), Readers::Public).unwrap();
        write_new(&paths.key, node.key_pem.as_bytes(), Readers::Secret).unwrap();
        let identity = crate::Identity::load(&paths, &cluster).unwrap();
        assert_eq!(identity.name().as_str(), "n1");
        assert!(matches!(Ca::load(&paths.cert, &key), Err(IssueError::NotAnAuthority { .. })));
    }
}
