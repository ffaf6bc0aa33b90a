//! Names that applications choose: of an attribute, of a user.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::limits::NAME_BYTES_MAX;

/// Name of an attribute: 1 to [`NAME_BYTES_MAX`] bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct Name(SmolStr);

impl Name {
    /// A name; an error if it is empty or too long.
    ///
    /// # Errors
    /// [`NameError`] says the length and the bound.
    pub fn new(name: impl Into<SmolStr>) -> Result<Self, NameError> {
        Self::try_from(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<SmolStr> for Name {
    type Error = NameError;

    fn try_from(name: SmolStr) -> Result<Self, NameError> {
        check(&name)?;
        Ok(Self(name))
    }
}

impl From<Name> for SmolStr {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name that a session is signed in as; `Debug` hides it (I-SECRET).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct User(SmolStr);

impl User {
    /// A user's name; an error if it is empty or too long.
    ///
    /// # Errors
    /// [`NameError`] says the length and the bound.
    pub fn new(name: impl Into<SmolStr>) -> Result<Self, NameError> {
        Self::try_from(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<SmolStr> for User {
    type Error = NameError;

    fn try_from(name: SmolStr) -> Result<Self, NameError> {
        check(&name)?;
        Ok(Self(name))
    }
}

impl From<User> for SmolStr {
    fn from(user: User) -> Self {
        user.0
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User(hidden)")
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(NameError { bytes: name.len() })
    }
}

/// A name is empty or longer than [`NAME_BYTES_MAX`]; choose a shorter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameError {
    /// Length of the refused name.
    pub bytes: usize,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name has 1 to {NAME_BYTES_MAX} bytes, this one has {}", self.bytes)
    }
}

impl std::error::Error for NameError {}
