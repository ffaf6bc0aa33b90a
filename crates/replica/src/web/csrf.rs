//! Protection of forms: a text that only pages of the same session can contain.

use session::{SessionKey, Token};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::session::Session;

impl Session {
    /// The text to put into a form of this session, as a hidden field. It is the same for all
    /// forms of a session and another one after a sign-in. A session that is yet to begin begins
    /// with this.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        let key = {
            let mut state = self.0.state.lock();
            state.working.is_wanted = true;
            derived(&state.working.id().to_cookie())
        };
        self.0.replica.keys.read().sign(key, &Token::default())
    }

    /// Checks the text that came back with a form.
    ///
    /// # Errors
    /// [`Error::Csrf`], which is HTTP 403: the form was not made by this session.
    pub fn check_csrf(&self, token: &str) -> Result<(), Error> {
        let key = {
            let state = self.0.state.lock();
            derived(&state.working.id.to_cookie())
        };
        let verified = self.0.replica.keys.read().verify(key, token);
        verified.map(|_| ()).map_err(|_| Error::Csrf)
    }
}

/// Signed under a key of its own, so that no token of a session can be taken for one of these.
fn derived(secret: &str) -> SessionKey {
    let mut hash = Sha256::new();
    hash.update("form of ");
    hash.update(secret);
    let hash = hash.finalize();
    let mut key = [0; SessionKey::BYTES];
    key.copy_from_slice(&hash[..SessionKey::BYTES]);
    SessionKey(key)
}
