//! What a certificate says about its holder: a node or an operator, and of which cluster.
//!
//! Only the subject alternative name counts. It holds one DNS name, either
//! `NODE.CLUSTER.replica.internal` or `NAME.operator.CLUSTER.replica.internal`, or, for the
//! authority of the cluster, `CLUSTER.replica.internal`.

use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use webpki::EndEntityCert;

use crate::name::{ClusterName, NodeName};

const SUFFIX: &str = ".replica.internal";
const OPERATOR: &str = "operator";

/// The holder that a certificate names. Says nothing about whether the certificate is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Node { name: NodeName, cluster: ClusterName },
    Operator { name: NodeName, cluster: ClusterName },
    Authority { cluster: ClusterName },
}

/// Why a certificate names neither a node nor an operator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum SubjectError {
    #[error("it is no X.509 certificate")]
    NotACertificate,
    #[error(
        "it must carry exactly one DNS name, NODE.CLUSTER{SUFFIX} or \
         NAME.{OPERATOR}.CLUSTER{SUFFIX}"
    )]
    OtherForm,
}

/// The DNS name in the certificate of a node.
pub(crate) fn node_dns_name(name: &NodeName, cluster: &ClusterName) -> String {
    format!("{name}.{cluster}{SUFFIX}")
}

/// The DNS name in the certificate of an operator.
#[cfg(feature = "issue")]
pub(crate) fn operator_dns_name(name: &NodeName, cluster: &ClusterName) -> String {
    format!("{name}.{OPERATOR}.{cluster}{SUFFIX}")
}

/// The DNS name in the certificate of a cluster's authority.
pub(crate) fn authority_dns_name(cluster: &ClusterName) -> String {
    format!("{cluster}{SUFFIX}")
}

impl Subject {
    /// Reads the holder out of a certificate.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, SubjectError> {
        let certificate =
            EndEntityCert::try_from(certificate).map_err(|_| SubjectError::NotACertificate)?;
        // Exactly one name: with a wildcard or a second name beside it, a certificate would
        // answer for nodes that it does not name.
        let mut names = certificate.valid_dns_names();
        let (Some(text), None) = (names.next(), names.next()) else {
            return Err(SubjectError::OtherForm);
        };
        let subject = Self::parse(text).ok_or(SubjectError::OtherForm)?;
        let name = ServerName::try_from(text).map_err(|_| SubjectError::OtherForm)?;
        certificate.verify_is_valid_for_subject_name(&name).map_err(|_| SubjectError::OtherForm)?;
        Ok(subject)
    }

    fn parse(text: &str) -> Option<Self> {
        let labels: Vec<&str> = text.strip_suffix(SUFFIX)?.split('.').collect();
        match labels.as_slice() {
            [name, cluster] => {
                Some(Self::Node { name: name.parse().ok()?, cluster: cluster.parse().ok()? })
            }
            [name, OPERATOR, cluster] => {
                Some(Self::Operator { name: name.parse().ok()?, cluster: cluster.parse().ok()? })
            }
            [cluster] => Some(Self::Authority { cluster: cluster.parse().ok()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_node_an_operator_or_nothing() {
        let node = Subject::parse("n1.c1.replica.internal");
        assert_eq!(
            node,
            Some(Subject::Node { name: "n1".parse().unwrap(), cluster: "c1".parse().unwrap() })
        );
        let operator = Subject::parse("ann.operator.c1.replica.internal");
        assert_eq!(
            operator,
            Some(Subject::Operator {
                name: "ann".parse().unwrap(),
                cluster: "c1".parse().unwrap()
            })
        );
        let authority = Subject::parse("c1.replica.internal");
        assert_eq!(authority, Some(Subject::Authority { cluster: "c1".parse().unwrap() }));
        for wrong in [
            "n1.c1.replica.internal.example",
            "*.c1.replica.internal",
            "a.b.c1.replica.internal",
            ".replica.internal",
            "replica.internal",
        ] {
            assert_eq!(Subject::parse(wrong), None, "{wrong}");
        }
    }
}
