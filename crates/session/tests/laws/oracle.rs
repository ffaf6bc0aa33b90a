//! What a copy must show, worked out from the list of all writes instead of from merged values.
//!
//! The list holds what each edit did when it was stamped. A copy is the writes that its version
//! covers (I-COV), whichever way they reached it.

use session::{Content, Edit, EditError, Kind, Name, Stamp, Value, Version};

use crate::history::{Commit, name};

/// What a reader sees of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Absent,
    Counter(i64),
    Set(Vec<Value>),
    Register(Value),
}

impl Shown {
    const fn kind(&self) -> Kind {
        match self {
            Self::Absent => Kind::Absent,
            Self::Counter(_) => Kind::Counter,
            Self::Set(_) => Kind::Set,
            Self::Register(_) => Kind::Register,
        }
    }
}

impl From<&Content> for Shown {
    fn from(content: &Content) -> Self {
        match content {
            Content::Absent => Self::Absent,
            Content::Counter(counter) => Self::Counter(counter.value()),
            Content::Set(set) => Self::Set(set.iter().cloned().collect()),
            Content::Register(value) => Self::Register(value.clone()),
        }
    }
}

struct Write {
    stamp: Stamp,
    name: Name,
    effect: Effect,
}

/// Additions and withdrawals name the replacement that they build on.
enum Effect {
    Replace(Shown),
    Add(Option<Stamp>, i64),
    Insert(Option<Stamp>, Value),
    Withdraw(Option<Stamp>, Value, Version),
}

/// All writes, in an order in which causes come before effects.
#[derive(Default)]
pub(crate) struct Oracle {
    log: Vec<Write>,
}

impl Oracle {
    /// Notes a commit.
    ///
    /// # Errors
    /// What the commit must have been refused with; then it left no trace.
    pub(crate) fn note(&mut self, commit: &Commit) -> Result<(), EditError> {
        let start = self.log.len();
        let mut version = commit.before.version.clone();
        version.insert(commit.stamp);
        for edit in &commit.edits {
            match self.effect(edit, commit, &version) {
                Ok(None) => {}
                Ok(Some(effect)) => {
                    self.log.push(Write { stamp: commit.stamp, name: edit.name().clone(), effect });
                }
                Err(error) => {
                    self.log.truncate(start);
                    return Err(error);
                }
            }
        }
        if matches!(commit.result, Ok(None)) {
            self.log.truncate(start);
        }
        Ok(())
    }

    fn effect(
        &self,
        edit: &Edit,
        commit: &Commit,
        version: &Version,
    ) -> Result<Option<Effect>, EditError> {
        let name = edit.name();
        let (since, shown) = self.look(name, version);
        let (before, _) = self.look(name, &commit.before.version);
        let check = |wanted: Kind| {
            let is = shown.kind();
            let error = EditError::Kind { name: name.clone(), is, wanted };
            (is == Kind::Absent || is == wanted).then_some(()).ok_or(error)
        };
        Ok(match edit {
            Edit::SetIf { expected, .. } if *expected != before => {
                return Err(EditError::Changed(name.clone()));
            }
            Edit::Set(_, value) | Edit::SetIf { value, .. } => {
                check(Kind::Register)?;
                Some(Effect::Replace(Shown::Register(value.clone())))
            }
            Edit::Remove(_) => (shown != Shown::Absent).then_some(Effect::Replace(Shown::Absent)),
            Edit::Add(_, amount) => {
                check(Kind::Counter)?;
                Some(Effect::Add(since, *amount))
            }
            Edit::Reset(_) => {
                check(Kind::Counter)?;
                Some(Effect::Replace(Shown::Counter(0)))
            }
            Edit::Insert(_, element) => {
                check(Kind::Set)?;
                Some(Effect::Insert(since, element.clone()))
            }
            Edit::Withdraw(_, element) => {
                check(Kind::Set)?;
                let is_there = matches!(&shown, Shown::Set(held) if held.contains(element));
                let seen = commit.at.clone();
                is_there.then(|| Effect::Withdraw(since, element.clone(), seen))
            }
        })
    }

    /// What a copy at `version` shows under `text`, and since when.
    pub(crate) fn shown(&self, text: &str, version: &Version) -> (Option<Stamp>, Shown) {
        self.look(&name(text), version)
    }

    fn look(&self, name: &Name, version: &Version) -> (Option<Stamp>, Shown) {
        let mut writes = Vec::new();
        let covered = |write: &&Write| write.name == *name && version.covers(write.stamp);
        writes.extend(self.log.iter().filter(covered));
        let is_replacement = |write: &Write| matches!(write.effect, Effect::Replace(_));
        // Of several in one commit, which have one stamp, `max_by_key` gives the last.
        let last = (0..writes.len())
            .filter(|&at| is_replacement(writes[at]))
            .max_by_key(|&at| writes[at].stamp);
        let since = last.map(|at| writes[at].stamp);
        let later = &writes[last.map_or(0, |at| at + 1)..];
        let live: Vec<&Write> =
            later.iter().copied().filter(|write| write.effect.builds_on(since)).collect();
        let base = last.map_or(&Shown::Absent, |at| writes[at].effect.replacement());
        (since, content(base, &live))
    }
}

impl Effect {
    fn builds_on(&self, replacement: Option<Stamp>) -> bool {
        match self {
            Self::Replace(_) => false,
            Self::Add(since, _) | Self::Insert(since, _) | Self::Withdraw(since, ..) => {
                *since == replacement
            }
        }
    }

    const fn replacement(&self) -> &Shown {
        match self {
            Self::Replace(shown) => shown,
            Self::Add(..) | Self::Insert(..) | Self::Withdraw(..) => &Shown::Absent,
        }
    }
}

/// What is shown after `live` writes on `base`: a set wins over a counter.
fn content(base: &Shown, live: &[&Write]) -> Shown {
    let is_insertion = |write: &&&Write| matches!(write.effect, Effect::Insert(..));
    if live.iter().any(|write| is_insertion(&write)) {
        return Shown::Set(elements(live));
    }
    let amounts: Vec<i64> = live
        .iter()
        .filter_map(|write| match write.effect {
            Effect::Add(_, amount) => Some(amount),
            Effect::Replace(_) | Effect::Insert(..) | Effect::Withdraw(..) => None,
        })
        .collect();
    if amounts.is_empty() { base.clone() } else { Shown::Counter(amounts.iter().sum()) }
}

fn elements(live: &[&Write]) -> Vec<Value> {
    let mut elements = Vec::new();
    for (at, insertion) in live.iter().enumerate() {
        let Effect::Insert(_, element) = &insertion.effect else {
            continue;
        };
        let is_withdrawn = live.iter().enumerate().any(|(other, write)| {
            let Effect::Withdraw(_, gone, seen) = &write.effect else {
                return false;
            };
            let is_own = write.stamp == insertion.stamp && other > at;
            gone == element && (is_own || seen.covers(insertion.stamp))
        });
        if !is_withdrawn {
            elements.push(element.clone());
        }
    }
    elements.sort();
    elements.dedup();
    elements
}
