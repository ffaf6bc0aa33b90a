//! What only a start finds wrong with a configuration: in the files that it names, and on this
//! machine. It is said as every other mistake is, at the key that is to be mended.

use std::fmt::Display;

use membership::Store;
use protocol::Copies;
use session::TokenKeys;
use transport::{Identity, IdentityError, NodeName, TlsFile};

use super::Config;
use super::check::{self, Checker};
use super::error::{ConfigError, Fault};
use super::token_keys::{self, TokenKeyFile};
use crate::error::StartError;

const TLS_CERT: &str = "tls.cert";

impl Config {
    /// Reads certificate, key and authority of this node, and checks them: against each other,
    /// against the clock and against what else is configured.
    ///
    /// # Errors
    /// One of the files is missing, wrong or does not fit; or one of [`check_start`].
    ///
    /// [`check_start`]: Self::check_start
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        let identity = Identity::load(&self.tls, &self.cluster.name)
            .map_err(|error| self.refused_identity(error))?;
        self.check_start(identity.name())?;
        Ok(identity)
    }

    /// Reads the file of the token keys.
    ///
    /// # Errors
    /// Those of [`TokenKeyFile::open`].
    pub fn token_keys(&self) -> Result<TokenKeys, ConfigError> {
        Ok(self.open_token_keys()?.1)
    }

    /// Opens the Raft directory, if this node is to have one.
    pub(crate) fn open_store(&self) -> Result<Option<Store>, ConfigError> {
        let directory = self.node.data_dir.as_ref().filter(|_| !self.cluster.is_fixed());
        let Some(directory) = directory else { return Ok(None) };
        Store::open(directory, self.cluster.name.as_str()).map(Some).map_err(|error| {
            self.refused("node.data_dir", format!("{directory:?}"), Fault::DataDir(error))
        })
    }

    pub(crate) fn open_token_keys(&self) -> Result<(TokenKeyFile, TokenKeys), ConfigError> {
        let path = &self.session.token_keys;
        TokenKeyFile::read(path, &self.cluster.name)
            .map_err(|fault| self.refused(token_keys::KEY, format!("{path:?}"), fault))
    }

    /// Checks what only the certificate can tell, and what this release can start with: called
    /// with the name in the certificate before anything is started.
    ///
    /// # Errors
    /// The certificate is for another node than `node.name`, or for one that is not in
    /// `cluster.members`; or it lacks what members that are agreed at run time need.
    pub fn check_start(&self, certificate: &NodeName) -> Result<(), ConfigError> {
        let mut checker = Checker::new(&self.layers);
        if self.cluster.is_fixed() && self.replication.copies != Copies::All {
            checker.refuse("replication.mode", Fault::FixedMembers);
        }
        if !self.cluster.is_fixed() {
            self.check_agreed(&mut checker);
        }
        match &self.node.name {
            Some(name) if name != certificate => {
                let certificate = certificate.clone();
                checker.refuse("node.name", Fault::OtherCertificate { certificate });
            }
            Some(_) => {} // Checked with the rest.
            None => {
                check::own_member(&mut checker, TLS_CERT, certificate, &self.node, &self.cluster);
            }
        }
        match checker.into_problems() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ConfigError::new(problems)),
        }
    }

    /// What a node needs whose members are agreed at run time.
    fn check_agreed(&self, checker: &mut Checker<'_>) {
        if self.node.advertise.is_none() && self.node.listen.ip().is_unspecified() {
            let example = "advertise = \"host:7001\" to [node]: the others need an address of this \
                           node, and node.listen names none";
            checker.refuse("node.advertise", Fault::Missing { example });
        }
        if self.cluster.seeds.is_empty() && self.node.data_dir.is_none() {
            let example = "data_dir = \"data\" to [node]: a node without seeds founds a cluster, and \
                           keeps there who is a member";
            checker.refuse("node.data_dir", Fault::Missing { example });
        }
    }

    fn refused_identity(&self, error: IdentityError) -> ConfigError {
        let (key, path) = match error.file() {
            TlsFile::Ca => ("tls.ca", &self.tls.ca),
            TlsFile::Cert => (TLS_CERT, &self.tls.cert),
            TlsFile::Key => ("tls.key", &self.tls.key),
        };
        self.refused(key, format!("{path:?}"), Fault::Identity(Box::new(error)))
    }

    /// Why the network part did not start: a mistake in the configuration, if it is one.
    pub(crate) fn refused_start(&self, error: transport::StartError) -> StartError {
        use transport::StartError as Transport;
        let (key, default) = match &error {
            Transport::InUse { .. } | Transport::Listen { .. } => {
                ("node.listen", format!("\"{}\"", self.node.listen))
            }
            Transport::Tls(_) => (TLS_CERT, format!("{:?}", self.tls.cert)),
            Transport::Hello { .. } | Transport::Random(_) => return StartError::Transport(error),
        };
        StartError::Config(self.refused(key, default, Fault::Start(error)))
    }

    /// `default` is shown if nobody has set the key.
    fn refused(&self, key: &str, default: impl Display, fault: Fault) -> ConfigError {
        let mut checker = Checker::new(&self.layers);
        checker.refuse_in_use(key, default, fault);
        ConfigError::new(checker.into_problems())
    }
}
