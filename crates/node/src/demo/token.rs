//! The secret between the page and this start of the demonstration: whoever presses a button has
//! it, and a page of another site cannot read it.

use std::fmt::{self, Write as _};
use std::io;

use subtle::ConstantTimeEq as _;

const BYTES: usize = 16;

/// Random, hexadecimal.
pub(super) struct Token(String);

impl Token {
    pub(super) fn new() -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let mut text = String::new();
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is the same, without telling by the time how much of it is.
    pub(super) fn is(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
