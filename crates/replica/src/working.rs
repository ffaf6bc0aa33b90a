//! What one request sees of its session: an own copy with the request's edits applied, the edits
//! as they will be committed, and what is to become of the session.

use std::collections::BTreeMap;

use protocol::limits::EDITS_MAX;
use session::{
    Body, Content, Core, Edit, EndReason, Hlc, Inc, Limits, Name, Session, SessionId, Stamp, Time,
    User, Version,
};

use crate::error::EditError;

/// Writer of the stamps in an own copy. They are never sent: whoever commits stamps anew.
const NOBODY: Inc = Inc(u64::MAX);

/// What the session is, outside of this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none yet: it begins with the first commit.
    New,
    /// It was opened.
    Living,
    /// The request names one that has ended.
    Ended(EndReason),
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It goes on, or begins if it must.
    Keep,
    /// Another session takes its place, under a fresh id.
    Rotate { id: SessionId, user: Option<User> },
    /// It ends.
    End,
}

impl Plan {
    pub(crate) const fn rotates(&self) -> bool {
        matches!(self, Self::Rotate { .. })
    }
}

/// The state behind a session handle.
pub(crate) struct Working {
    /// What the session is found under: drawn already, if it is new.
    pub(crate) id: SessionId,
    pub(crate) standing: Standing,
    pub(crate) plan: Plan,
    /// What reads see.
    pub(crate) copy: Session,
    /// What the client has seen, this request included (rule K1).
    pub(crate) seen: Version,
    /// What the request had seen when it opened the session (amendment 5).
    pub(crate) at: Version,
    /// The edits to be committed, in order.
    pub(crate) edits: Vec<Edit>,
    /// The write that a register had when the request saw it first, per edited attribute.
    expected: BTreeMap<Name, Option<Stamp>>,
    /// True if the session is to begin even without an edit.
    pub(crate) is_wanted: bool,
}

impl Working {
    /// A session that does not exist yet.
    pub(crate) fn new(id: SessionId, standing: Standing, idle_ms: u64, now: Time) -> Self {
        let created = Stamp { hlc: Hlc::at(now), inc: NOBODY };
        let core = Core { created, hard_deadline: now, idle_ms, user: None };
        let copy = Session { version: Version::new(), ..Session::new(core) };
        Self::around(id, standing, copy, Version::new())
    }

    /// A session that was opened; `seen` is what its client had seen before, as far as it exists.
    pub(crate) fn opened(id: SessionId, copy: Session, mut seen: Version) -> Self {
        seen.join(&copy.version);
        Self::around(id, Standing::Living, copy, seen)
    }

    fn around(id: SessionId, standing: Standing, copy: Session, seen: Version) -> Self {
        Self {
            id,
            standing,
            plan: Plan::Keep,
            at: copy.version.clone(),
            copy,
            seen,
            edits: Vec::new(),
            expected: BTreeMap::new(),
            is_wanted: false,
        }
    }

    /// True if there is anything to commit, touches aside.
    pub(crate) fn is_dirty(&self) -> bool {
        let is_living = self.standing == Standing::Living;
        match self.plan {
            Plan::Keep => !self.edits.is_empty() || (self.is_wanted && !is_living),
            Plan::Rotate { .. } => true,
            Plan::End => is_living,
        }
    }

    /// Whom the session is, or is about to be, signed in as.
    pub(crate) fn user(&self) -> Option<&User> {
        match &self.plan {
            Plan::Keep => self.copy.core.user.as_ref(),
            Plan::Rotate { user, .. } => user.as_ref(),
            Plan::End => None,
        }
    }

    /// The id that the next request of this client carries.
    #[cfg(feature = "axum")]
    pub(crate) fn id(&self) -> &SessionId {
        match &self.plan {
            Plan::Rotate { id, .. } => id,
            Plan::Keep | Plan::End => &self.id,
        }
    }

    pub(crate) fn content(&self, name: &Name) -> &Content {
        self.copy.content(name)
    }

    /// Makes an edit: seen by reads from now on, and recorded unless it changes nothing.
    pub(crate) fn edit(&mut self, edit: Edit, limits: &Limits) -> Result<(), EditError> {
        if self.plan == Plan::End {
            return Err(EditError::SignedOut);
        }
        if self.edits.len() >= EDITS_MAX {
            return Err(EditError::TooMany { max: EDITS_MAX });
        }
        let since = self.since(edit.name());
        if self.apply(&edit, limits)? {
            self.expected.entry(edit.name().clone()).or_insert(since);
            self.record(edit);
        }
        Ok(())
    }

    /// The write that a register must still have for a change of it to be based on what this
    /// request saw.
    pub(crate) fn expected(&self, name: &Name) -> Option<Stamp> {
        self.expected.get(name).copied().unwrap_or_else(|| self.since(name))
    }

    fn since(&self, name: &Name) -> Option<Stamp> {
        self.copy.attributes.get(name).and_then(|attribute| attribute.since)
    }

    /// Applies an edit to the own copy; false if it changes nothing.
    fn apply(&mut self, edit: &Edit, limits: &Limits) -> Result<bool, session::EditError> {
        // Whether others have written meanwhile is found out by whoever commits.
        let plain = match edit {
            Edit::SetIf { name, value, .. } => &Edit::Set(name.clone(), value.clone()),
            Edit::Set(..)
            | Edit::Remove(_)
            | Edit::Add(..)
            | Edit::Reset(_)
            | Edit::Insert(..)
            | Edit::Withdraw(..) => edit,
        };
        let stamp = Stamp { hlc: self.copy.version.newest().next(), inc: NOBODY };
        let (edits, at) = (std::slice::from_ref(plain), &self.copy.version);
        let Some(delta) = self.copy.stamp(self.id.key(), edits, at, stamp, limits)? else {
            return Ok(false);
        };
        if let Body::Change(change) = delta.body {
            self.copy.merge_unchecked(&change);
        }
        Ok(true)
    }

    /// Notes an edit; two of one attribute become one where that means the same.
    fn record(&mut self, edit: Edit) {
        let last = self.edits.iter_mut().rfind(|earlier| earlier.name() == edit.name());
        match (last, &edit) {
            (Some(Edit::Set(_, earlier)), Edit::Set(_, value)) => *earlier = value.clone(),
            (Some(Edit::Add(_, sum)), Edit::Add(_, amount))
                if sum.checked_add(*amount).is_some() =>
            {
                *sum += amount;
            }
            _ => self.edits.push(edit),
        }
    }

    /// The session turns out to have ended: nothing of it is seen any more, least of all whose it
    /// was. Edits that nobody has committed yet begin another one.
    pub(crate) fn lose(&mut self, fresh: SessionId, reason: EndReason) {
        let (core, last_access) = (self.copy.core.clone(), self.copy.last_access);
        let core = Core { user: None, ..core };
        let copy = Session { version: Version::new(), last_access, ..Session::new(core) };
        let edits = std::mem::take(&mut self.edits);
        *self = Self::around(fresh, Standing::Ended(reason), copy, Version::new());
        self.edits = edits;
    }

    /// Another session takes the place of this one when it is committed.
    pub(crate) fn rotate(&mut self, id: SessionId, user: Option<User>) {
        self.plan = Plan::Rotate { id, user };
    }

    /// The session ends when it is committed; nothing of it is seen any more.
    pub(crate) fn end(&mut self) {
        self.plan = Plan::End;
        self.edits.clear();
        self.copy.attributes.clear();
        self.is_wanted = false;
    }

    /// Nothing is to be committed after all.
    #[cfg(feature = "axum")]
    pub(crate) fn discard(&mut self) {
        self.plan = Plan::Keep;
        self.edits.clear();
        self.is_wanted = false;
    }

    /// The edits that make a new session of what is visible here.
    pub(crate) fn transcript(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        for (name, content) in self.copy.present() {
            match content {
                Content::Absent => {}
                Content::Register(value) => edits.push(Edit::Set(name.clone(), value.clone())),
                Content::Counter(counter) => edits.push(Edit::Add(name.clone(), counter.value())),
                Content::Set(set) => {
                    edits.extend(set.iter().map(|item| Edit::Insert(name.clone(), item.clone())));
                }
            }
        }
        edits
    }

    /// Goes on from a fresh copy, with the edits that were made since the last commit on top of
    /// it. An edit that no longer fits is refused when it is committed.
    pub(crate) fn rebase(&mut self, copy: Session, limits: &Limits) {
        self.seen.join(&copy.version);
        self.at = copy.version.clone();
        self.copy = copy;
        self.expected.clear();
        for edit in std::mem::take(&mut self.edits) {
            let since = self.since(edit.name());
            self.expected.entry(edit.name().clone()).or_insert(since);
            let _ = self.apply(&edit, limits);
            self.edits.push(edit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use session::LIMITS_DEFAULT;

    use super::*;

    const WRITER: Inc = Inc(1);

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// A session that somebody else has written to before.
    fn held() -> Session {
        let created = Stamp { hlc: Hlc(1), inc: WRITER };
        let core = Core { created, hard_deadline: Time(9), idle_ms: 5, user: None };
        let edits = [
            Edit::Set(name("r"), "old".into()),
            Edit::Add(name("c"), 5),
            Edit::Insert(name("s"), "old".into()),
        ];
        committed(&Session::new(core), &edits, Hlc(2))
    }

    /// What a node makes of the edits of one request.
    fn committed(session: &Session, edits: &[Edit], hlc: Hlc) -> Session {
        let mut session = session.clone();
        let (key, stamp) = (session::SessionKey([0; 16]), Stamp { hlc, inc: WRITER });
        let at = session.version.clone();
        let delta = session.stamp(key, edits, &at, stamp, &LIMITS_DEFAULT).unwrap();
        if let Some(session::Delta { body: Body::Change(change), .. }) = delta {
            session.merge_unchecked(&change);
        }
        session
    }

    /// What a handler can read.
    fn visible(session: &Session) -> Vec<(Name, String)> {
        let text = |content: &Content| match content {
            Content::Absent => "absent".to_owned(),
            Content::Register(value) => format!("{:?}", value.bytes()),
            Content::Counter(counter) => counter.value().to_string(),
            Content::Set(set) => {
                format!("{:?}", set.iter().map(session::Value::bytes).collect::<Vec<_>>())
            }
        };
        let shown = session.present().map(|(name, content)| (name.clone(), text(content)));
        // An empty set reads like none.
        shown.filter(|(_, text)| text != "[]").collect()
    }

    fn opened(session: Session) -> Working {
        Working::opened(SessionId::from_random([1; 32]), session, Version::new())
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let text = || prop_oneof!["old", "a", "b"];
        let name = || prop_oneof!["r", "c", "s", "n"].prop_map(|text| name(&text));
        prop_oneof![
            (name(), text()).prop_map(|(name, value)| Edit::Set(name, value.as_str().into())),
            name().prop_map(Edit::Remove),
            (name(), -3i64..4).prop_map(|(name, amount)| Edit::Add(name, amount)),
            name().prop_map(Edit::Reset),
            (name(), text()).prop_map(|(name, value)| Edit::Insert(name, value.as_str().into())),
            (name(), text()).prop_map(|(name, value)| Edit::Withdraw(name, value.as_str().into())),
        ]
    }

    proptest! {
        /// What a handler reads is what its commit makes, if nobody else writes.
        #[test]
        fn reads_see_what_the_commit_will_make(edits in prop::collection::vec(edit(), 0..24)) {
            let mut working = opened(held());
            for edit in edits {
                // One that does not fit the kind is refused, and changes nothing.
                let _ = working.edit(edit, &LIMITS_DEFAULT);
            }
            let made = committed(&held(), &working.edits, Hlc(3));
            prop_assert_eq!(visible(&working.copy), visible(&made));
            prop_assert_eq!(working.is_dirty(), !working.edits.is_empty());
        }

        /// A login takes along what is visible.
        #[test]
        fn a_transcript_makes_the_same_again(edits in prop::collection::vec(edit(), 0..24)) {
            let mut working = opened(held());
            for edit in edits {
                let _ = working.edit(edit, &LIMITS_DEFAULT);
            }
            let fresh = Session::new(held().core);
            let made = committed(&fresh, &working.transcript(), Hlc(3));
            prop_assert_eq!(visible(&working.copy), visible(&made));
        }
    }

    #[test]
    fn additions_and_overwrites_become_one_edit() {
        let mut working = opened(held());
        for number in 0..10 {
            working.edit(Edit::Add(name("c"), number), &LIMITS_DEFAULT).unwrap();
            working.edit(Edit::Set(name("r"), "x".into()), &LIMITS_DEFAULT).unwrap();
        }
        let expected = [Edit::Add(name("c"), 45), Edit::Set(name("r"), "x".into())];
        assert_eq!(working.edits, expected);
    }

    #[test]
    fn what_changes_nothing_is_no_edit() {
        let mut working = opened(held());
        working.edit(Edit::Remove(name("n")), &LIMITS_DEFAULT).unwrap();
        working.edit(Edit::Withdraw(name("s"), "a".into()), &LIMITS_DEFAULT).unwrap();
        assert!(!working.is_dirty());
    }

    /// Rule A5: what is compared is the write that the request has seen, not its own.
    #[test]
    fn a_conditional_edit_expects_what_was_seen_first() {
        let mut working = opened(held());
        let seen = held().attributes[&name("r")].since;
        working.edit(Edit::Set(name("r"), "x".into()), &LIMITS_DEFAULT).unwrap();
        assert_eq!(working.expected(&name("r")), seen);
        assert_eq!(working.expected(&name("n")), None);
    }

    #[test]
    fn edits_survive_a_fresh_copy() {
        let mut working = opened(held());
        working.edit(Edit::Add(name("c"), 1), &LIMITS_DEFAULT).unwrap();
        let newer = committed(&held(), &[Edit::Add(name("c"), 10)], Hlc(3));
        working.rebase(newer.clone(), &LIMITS_DEFAULT);
        assert_eq!(visible(&working.copy)[0], (name("c"), "16".to_owned()));
        assert_eq!((working.edits.len(), working.at), (1, newer.version));
    }

    #[test]
    fn one_request_makes_a_bounded_number_of_edits() {
        let mut working = opened(held());
        for number in 0..EDITS_MAX {
            let edit = match number % 2 {
                0 => Edit::Remove(name("r")),
                _ => Edit::Set(name("r"), "x".into()),
            };
            working.edit(edit, &LIMITS_DEFAULT).unwrap();
        }
        let more = working.edit(Edit::Remove(name("r")), &LIMITS_DEFAULT);
        assert!(matches!(more, Err(EditError::TooMany { max: EDITS_MAX })), "{more:?}");
    }
}
