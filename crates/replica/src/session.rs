//! The handle of a session: what an application reads and edits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use protocol::Report;
use session::{
    Content, Edit, EndReason, Kind, Name, SessionId, Time, Token, User, Value, purge_after,
};

use crate::error::{EditError, Error, ReadError, Result};
use crate::key::{Codec, Counter, Key, Register, Set};
use crate::replica::Shared;
use crate::working::{Standing, Working};

/// The session of one visitor, as one request sees it.
///
/// A request works on its own copy: reads see what was there when it opened the session, and the
/// edits that it has made itself. The edits reach the others, together, when the layer commits
/// them after the handler, or when [`save`](Self::save) is called. Clones are the same handle;
/// nothing here waits, but for `save`.
///
/// A session comes into being with its first edit.
#[derive(Clone)]
pub struct Session(pub(crate) Arc<Handle>);

pub(crate) struct Handle {
    pub(crate) replica: Arc<Shared>,
    pub(crate) state: Mutex<State>,
    /// Held by whoever commits: one commit after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// What a handle knows, beside its replica.
pub(crate) struct State {
    pub(crate) working: Working,
    /// The token that the request came with.
    pub(crate) presented: Option<Token>,
    /// What the client must be told about its id.
    pub(crate) id_change: Option<IdChange>,
    /// The commit of this request that reached the fewest of those it asked for.
    pub(crate) report: Option<Report>,
    /// True once the response has left: what is edited later is lost unless it is saved.
    pub(crate) is_answered: bool,
}

/// What becomes of the id that a client holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdChange {
    /// It is this one from now on.
    Set(SessionId),
    /// It holds none.
    Clear,
}

impl Session {
    pub(crate) fn new(replica: Arc<Shared>, working: Working, presented: Option<Token>) -> Self {
        let (id_change, report, is_answered) = (None, None, false);
        let state = State { working, presented, id_change, report, is_answered };
        let turn = tokio::sync::Mutex::new(());
        Self(Arc::new(Handle { replica, state: Mutex::new(state), turn }))
    }

    // --- what is in it ---

    /// The value of a register; `None` if it is not set.
    ///
    /// # Errors
    /// The attribute is of another kind, or its value is not of the key's type.
    pub fn get<T, C: Codec<T>>(&self, key: Register<T, C>) -> Result<Option<T>> {
        let name = key.into_name();
        let state = self.0.state.lock();
        let value = match state.working.content(&name) {
            Content::Absent => return Ok(None),
            Content::Register(value) => value.clone(),
            other @ (Content::Counter(_) | Content::Set(_)) => {
                return Err(wrong_kind(name, other, Kind::Register));
            }
        };
        drop(state);
        decode::<T, C>(&name, &value).map(Some)
    }

    /// The value of a counter; 0 if nothing was ever added.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn count(&self, counter: Counter) -> Result<i64> {
        let name = counter.into_name();
        match self.0.state.lock().working.content(&name) {
            Content::Absent => Ok(0),
            Content::Counter(counter) => Ok(counter.value()),
            other @ (Content::Register(_) | Content::Set(_)) => {
                Err(wrong_kind(name, other, Kind::Counter))
            }
        }
    }

    /// The elements of a set, in the order of their bytes.
    ///
    /// # Errors
    /// The attribute is of another kind, or an element is not of the key's type.
    pub fn items<T, C: Codec<T>>(&self, set: Set<T, C>) -> Result<Vec<T>> {
        let name = set.into_name();
        let items = self.elements(&name)?;
        items.iter().map(|item| decode::<T, C>(&name, item)).collect()
    }

    /// True if `item` is in the set.
    ///
    /// # Errors
    /// The attribute is of another kind, or the item cannot be encoded.
    pub fn contains<T, C: Codec<T>>(&self, set: Set<T, C>, item: &T) -> Result<bool> {
        let name = set.into_name();
        let item = encode::<T, C>(&name, item)?;
        Ok(self.elements(&name)?.contains(&item))
    }

    fn elements(&self, name: &Name) -> Result<Vec<Value>> {
        match self.0.state.lock().working.content(name) {
            Content::Absent => Ok(Vec::new()),
            Content::Set(set) => Ok(set.iter().cloned().collect()),
            other @ (Content::Register(_) | Content::Counter(_)) => {
                Err(wrong_kind(name.clone(), other, Kind::Set))
            }
        }
    }

    // --- edits ---

    /// Sets a register.
    ///
    /// # Errors
    /// The attribute is of another kind, the session would be too large, or the value cannot be
    /// encoded. Nothing changes then.
    pub fn set<T, C: Codec<T>>(
        &self,
        key: Register<T, C>,
        value: impl std::borrow::Borrow<T>,
    ) -> Result<()> {
        let name = key.into_name();
        let value = encode::<T, C>(&name, value.borrow())?;
        self.edit(Edit::Set(name, value))
    }

    /// Reads a register, and sets it to what `change` makes of it. If somebody else writes it
    /// meanwhile, the commit fails ([`session::EditError::Changed`], HTTP 409) and nothing of this
    /// request takes effect; a request that comes again sees the other's value.
    ///
    /// # Errors
    /// As for [`get`](Self::get) and [`set`](Self::set).
    pub fn update_if<T, C: Codec<T>>(
        &self,
        key: Register<T, C>,
        change: impl FnOnce(Option<T>) -> T,
    ) -> Result<()> {
        let held = self.get(key.clone())?;
        let name = key.into_name();
        let value = encode::<T, C>(&name, &change(held))?;
        let expected = self.0.state.lock().working.expected(&name);
        self.edit(Edit::SetIf { name, value, expected })
    }

    /// Removes an attribute of any kind, with all that is in it.
    ///
    /// # Errors
    /// The session was signed out in this request.
    pub fn remove(&self, key: impl Key) -> Result<()> {
        self.edit(Edit::Remove(key.into_name()))
    }

    /// Adds to a counter, or subtracts; returns its value with what this request has added.
    ///
    /// # Errors
    /// The attribute is of another kind, or the counter would overflow.
    pub fn add(&self, counter: Counter, amount: i64) -> Result<i64> {
        let name = counter.clone().into_name();
        self.edit(Edit::Add(name, amount))?;
        self.count(counter)
    }

    /// Sets a counter back to 0. What others add at the same time may be lost.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn reset(&self, counter: Counter) -> Result<()> {
        self.edit(Edit::Reset(counter.into_name()))
    }

    /// Adds an element to a set.
    ///
    /// # Errors
    /// The attribute is of another kind, the session would be too large, or the item cannot be
    /// encoded.
    pub fn insert<T, C: Codec<T>>(
        &self,
        set: Set<T, C>,
        item: impl std::borrow::Borrow<T>,
    ) -> Result<()> {
        let name = set.into_name();
        let item = encode::<T, C>(&name, item.borrow())?;
        self.edit(Edit::Insert(name, item))
    }

    /// Takes an element out of a set. It stays if somebody adds it at the same time.
    ///
    /// # Errors
    /// The attribute is of another kind, or the item cannot be encoded.
    pub fn withdraw<T, C: Codec<T>>(
        &self,
        set: Set<T, C>,
        item: impl std::borrow::Borrow<T>,
    ) -> Result<()> {
        let name = set.into_name();
        let item = encode::<T, C>(&name, item.borrow())?;
        self.edit(Edit::Withdraw(name, item))
    }

    fn edit(&self, edit: Edit) -> Result<()> {
        let limits = &self.0.replica.config.session().limits;
        Ok(self.0.state.lock().working.edit(edit, limits)?)
    }

    // --- whose it is ---

    /// Whom it is signed in as.
    #[must_use]
    pub fn user(&self) -> Option<User> {
        self.0.state.lock().working.user().cloned()
    }

    /// Whom it is signed in as.
    ///
    /// # Errors
    /// [`Error::NotSignedIn`], which is HTTP 401.
    pub fn require_user(&self) -> Result<User> {
        self.user().ok_or(Error::NotSignedIn)
    }

    /// True if it is signed in.
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        self.user().is_some()
    }

    /// Signs the visitor in: another session takes the place of this one, with a fresh id and a
    /// copy of what is in it. The old id is refused from then on (promise P5). If this session is
    /// ended elsewhere before that is committed, the commit fails with
    /// [`CommitError::Gone`](crate::CommitError::Gone), HTTP 410, and nobody is signed in.
    ///
    /// # Errors
    /// The user's name is empty or longer than 128 bytes.
    pub fn sign_in(&self, user: &str) -> Result<()> {
        let user = User::new(user)?;
        let id = self.0.replica.draw_id();
        self.0.state.lock().working.rotate(id, Some(user));
        Ok(())
    }

    /// Gives the session a fresh id, with the same user: after a change of rights. As with
    /// [`sign_in`](Self::sign_in), a session that is ended elsewhere before the commit stays ended.
    pub fn renew(&self) {
        let id = self.0.replica.draw_id();
        let mut state = self.0.state.lock();
        let user = state.working.user().cloned();
        state.working.rotate(id, user);
    }

    /// Signs the visitor out: the session ends on all nodes, with everything in it, and never
    /// comes back (promise P3).
    pub fn sign_out(&self) {
        self.0.state.lock().working.end();
    }

    // --- what it is ---

    /// False if it is yet to come into being with its first commit, or has ended.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.state.lock().working.standing == Standing::Living
    }

    /// Why the session that the client named has ended; `None` if it has not, or if nobody knows.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        match self.0.state.lock().working.standing {
            Standing::Ended(reason) => Some(reason),
            Standing::New | Standing::Living => None,
        }
    }

    /// When it began; `None` before its first commit.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        let state = self.0.state.lock();
        let is_living = state.working.standing == Standing::Living;
        is_living.then(|| system_time(state.working.copy.core.created.hlc.time()))
    }

    /// When it ends unless it is used before, at most its absolute timeout; `None` before its
    /// first commit. It may be served for a little longer.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        let state = self.0.state.lock();
        let (copy, standing) = (&state.working.copy, state.working.standing);
        let idle = copy.last_access.plus(copy.core.idle_ms);
        (standing == Standing::Living).then(|| system_time(idle.min(copy.core.hard_deadline)))
    }

    /// The secret that names the session to whoever holds it, for programs without the web layer;
    /// `None` before its first commit, and once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        let state = self.0.state.lock();
        (state.working.standing == Standing::Living).then(|| state.working.id.clone())
    }

    /// What the client has seen, signed, to come back with its next request.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        let state = self.0.state.lock();
        let token = state.token()?;
        Some(self.0.replica.keys.read().sign(state.working.id.key(), &token))
    }
}

impl State {
    /// The token to give out.
    // Rule K1, amendment 7.
    pub(crate) fn token(&self) -> Option<Token> {
        let working = &self.working;
        if working.standing != Standing::Living {
            return None;
        }
        let may_expire = purge_after(&working.copy.core, working.copy.last_access);
        Some(Token { version: working.seen.clone(), may_expire })
    }

    /// True if something was edited that nobody will commit any more.
    fn is_unsaved(&self) -> bool {
        self.is_answered && self.working.is_dirty()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.state.get_mut().is_unsaved() {
            self.replica.driver.meters.edits_unsaved.count();
            tracing::error!("edits made after the response are lost: save() them");
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        let (id, standing) = (&state.working.id, state.working.standing);
        f.debug_struct("Session").field("id", id).field("standing", &standing).finish()
    }
}

pub(crate) fn system_time(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.0)
}

fn wrong_kind(name: Name, is: &Content, wanted: Kind) -> Error {
    ReadError::Kind { name, is: is.kind(), wanted }.into()
}

fn encode<T, C: Codec<T>>(name: &Name, value: &T) -> Result<Value> {
    let encoded = C::encode(value)
        .map_err(|source| EditError::Encode { name: name.clone(), source: Box::new(source) })?;
    Ok(encoded.into())
}

fn decode<T, C: Codec<T>>(name: &Name, value: &Value) -> Result<T> {
    let decoded = C::decode(value.bytes())
        .map_err(|source| ReadError::Decode { name: name.clone(), source: Box::new(source) })?;
    Ok(decoded)
}
