//! Golden stories: commands and what came of them, as text that a person can read.
//!
//! A story is a file of blocks. A block is commands, one a line, then `----`, then what they print,
//! then an empty line; lines that begin with `#` explain. Messages take one millisecond. The
//! commands:
//!
//! ```text
//! nodes 3                      starts the nodes n1, n2, n3 and lets them meet
//! create s1 n1                 a new session s1, drawn and written at n1
//! edit n2 s1 cart+milk n=+1    edits at n2: name=value, name=+1, name+element, name-element, name!
//! edit-at n2 s1@n1 ...         the same by a client that has seen what n1 holds
//! note t n1 s1                 keeps the token of what n1 holds in mind, as t
//! read n3 s1 [n1 | t]          opens s1 at n3, with the token of what n1 holds, or with t
//! end n1 s1                    logs out
//! cut n1 n2 / heal n1 n2       no messages between them / again
//! crash n1 / start n1          the process dies / a new one starts
//! wait 500                     milliseconds pass
//! status s1                    what every node holds of it
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use protocol::{
    Ack, Commit, Copies, Envelope, Event, Life, Node, Opened, Options, Outcome, Rules, Ticket, View,
};
use session::{
    Content, Core, Edit, EndReason, Inc, LIMITS_DEFAULT, Name, SessionKey, State, Time, Token,
    Value, Version,
};

const BEGIN: u64 = 1_000_000;

/// A stage on which a story plays: nodes, what is between them, and a clock.
#[derive(Default)]
pub struct Stage {
    now: u64,
    view: Option<View>,
    nodes: Vec<Option<Node>>,
    starts: u64,
    cuts: Vec<(usize, usize)>,
    /// Messages by the time at which they arrive.
    air: BTreeMap<u64, Vec<(usize, Envelope)>>,
    tickets: u64,
    /// Versions that a client keeps in mind.
    notes: BTreeMap<String, Version>,
    out: String,
}

/// Plays a story and returns it with what its commands print now.
#[must_use]
pub fn play(story: &str) -> String {
    let mut stage = Stage { now: BEGIN, ..Stage::default() };
    let mut played = String::new();
    let mut recorded = false;
    for line in story.lines() {
        if line == "----" {
            recorded = true;
            let _ = writeln!(played, "----");
            played.push_str(&std::mem::take(&mut stage.out));
        } else if recorded {
            // What was recorded is dropped; the empty line after it ends the block.
            if line.is_empty() {
                recorded = false;
                played.push('\n');
            }
        } else {
            let _ = writeln!(played, "{line}");
            if !line.is_empty() && !line.starts_with('#') {
                stage.command(line);
            }
        }
    }
    played
}

impl Stage {
    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["nodes", count] => self.begin(count.parse().unwrap_or(0)),
            ["create", session, node] => self.create(key(session), index(node)),
            ["edit", node, session, ..] => {
                let at = self.version(index(node), key(session));
                self.edit(index(node), key(session), at, &words[3..]);
            }
            ["edit-at", node, session, ..] => {
                let (session, seen) = session.split_once('@').unwrap_or((session, node));
                let at = self.version(index(seen), key(session));
                self.edit(index(node), key(session), at, &words[3..]);
            }
            ["read", node, session] => self.read(index(node), key(session), None),
            ["note", note, node, session] => {
                let version = self.version(index(node), key(session));
                self.notes.insert(note.to_owned(), version);
            }
            ["read", node, session, seen] => {
                let noted = self.notes.get(seen).cloned();
                let version = noted.unwrap_or_else(|| self.version(index(seen), key(session)));
                let token = Token { version, may_expire: Time(u64::MAX) };
                self.read(index(node), key(session), Some(token));
            }
            ["end", node, session] => {
                let at = self.version(index(node), key(session));
                let life = Life::End(EndReason::Logout);
                self.commit(index(node), key(session), life, at, Vec::new());
            }
            ["cut", a, b] => self.cuts.push((index(a), index(b))),
            ["heal", a, b] => self.cuts.retain(|cut| *cut != (index(a), index(b))),
            ["crash", node] => self.crash(index(node)),
            ["start", node] => self.start(index(node)),
            ["wait", ms] => self.wait(ms.parse().unwrap_or(0)),
            ["status", session] => self.status(key(session)),
            _ => self.say(&format!("no such command: {line}")),
        }
    }

    fn say(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn begin(&mut self, count: usize) {
        let names = (1..=count).map(|n| format!("n{n}").as_str().into());
        self.view = Some(View::fixed(names, Copies::All));
        self.nodes = (0..count).map(|_| None).collect();
        for node in 0..count {
            self.start(node);
        }
        self.wait(200);
    }

    fn start(&mut self, node: usize) {
        self.starts += 1;
        let Some(view) = &mut self.view else { return };
        let (name, inc) = (view.members[node].name.clone(), Inc(self.starts));
        view.started(&name, inc);
        let options = Options {
            inc,
            name,
            shard: 0,
            shards: 1,
            digest_seed: 1,
            noise_seed: self.starts,
            outbox_sessions_max: 1_000,
            repair_interval_ms: 10_000,
            repair_bytes_per_second: 1 << 20,
            ack_timeout_ms: 1_000,
            bytes_max: 1 << 20,
            limits: LIMITS_DEFAULT,
            rules: Rules::default(),
        };
        let view = view.clone();
        self.nodes[node] = Some(Node::new(options, view.clone(), Time(self.now)));
        for peer in 0..self.nodes.len() {
            self.tell_of(peer, &view);
        }
    }

    /// Lets a node know the view, and that everybody who runs answers.
    fn tell_of(&mut self, node: usize, view: &View) {
        let now = Time(self.now);
        let running: Vec<Inc> = self.nodes.iter().flatten().map(Node::inc).collect();
        if let Some(at) = &mut self.nodes[node] {
            at.handle_view(view.clone(), now);
            for inc in running.into_iter().filter(|inc| *inc != at.inc()).collect::<Vec<_>>() {
                at.handle_reachable(inc, true, now);
            }
        }
        self.settle(node);
    }

    fn crash(&mut self, node: usize) {
        let Some(inc) = self.nodes[node].take().map(|node| node.inc()) else { return };
        for peer in 0..self.nodes.len() {
            if let Some(peer) = &mut self.nodes[peer] {
                peer.handle_reachable(inc, false, Time(self.now));
            }
            self.settle(peer);
        }
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            for (to, envelope) in self.air.remove(&self.now).unwrap_or_default() {
                if let Some(node) = &mut self.nodes[to] {
                    node.handle_message(envelope.from, envelope, Time(self.now));
                }
                self.settle(to);
            }
            if self.now.is_multiple_of(50) {
                for node in 0..self.nodes.len() {
                    if let Some(node) = &mut self.nodes[node] {
                        node.handle_tick(Time(self.now));
                    }
                    self.settle(node);
                }
            }
        }
    }

    fn settle(&mut self, at: usize) {
        let now = Time(self.now);
        while let Some(event) = self.nodes[at].as_mut().and_then(Node::poll_event) {
            match event {
                Event::Opened(_, opened) => {
                    self.say(&format!("n{} {}", at + 1, opened_as(&opened)));
                }
                Event::Committed(_, outcome) => {
                    self.say(&format!("n{} {}", at + 1, committed_as(&outcome)));
                }
                Event::Synced(_) => self.say(&format!("n{} is synced", at + 1)),
                Event::Behind(..) | Event::LossAccepted(_) | Event::Removed => {}
                Event::Violation(_, violation) => self.say(&format!("violation: {violation}")),
            }
        }
        while let Some(sent) = self.nodes[at].as_mut().and_then(|node| node.poll_transmit(now)) {
            let to = self.nodes.iter().position(|n| n.as_ref().is_some_and(|n| n.inc() == sent.to));
            let Some(to) = to else { continue };
            if !self.cuts.contains(&(at, to)) && !self.cuts.contains(&(to, at)) {
                self.air.entry(self.now + 1).or_default().push((to, sent.envelope));
            }
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn version(&self, node: usize, key: SessionKey) -> Version {
        self.nodes[node].as_ref().map(|node| node.store().version(key)).unwrap_or_default()
    }

    fn create(&mut self, key: SessionKey, node: usize) {
        let now = Time(self.now);
        let Some(created) = self.nodes[node].as_mut().map(|node| node.stamp(now)) else { return };
        let core =
            Core { created, hard_deadline: now.plus(3_600_000), idle_ms: 600_000, user: None };
        self.commit(node, key, Life::Create(core), Version::new(), Vec::new());
    }

    fn edit(&mut self, node: usize, key: SessionKey, at: Version, words: &[&str]) {
        let edits = words.iter().filter_map(|word| edit(word)).collect();
        self.commit(node, key, Life::Keep, at, edits);
    }

    fn commit(&mut self, node: usize, key: SessionKey, life: Life, at: Version, edits: Vec<Edit>) {
        let (ticket, now) = (self.ticket(), Time(self.now));
        let commit = Commit { key, life, at, edits, level: Ack::One };
        if let Some(node) = &mut self.nodes[node] {
            node.commit(ticket, commit, now.plus(2_000), now);
        }
        self.settle(node);
    }

    fn read(&mut self, node: usize, key: SessionKey, token: Option<Token>) {
        let (ticket, now) = (self.ticket(), Time(self.now));
        if let Some(node) = &mut self.nodes[node] {
            node.open(ticket, key, token, now.plus(2_000), now);
        }
        self.settle(node);
    }

    fn status(&mut self, key: SessionKey) {
        for at in 0..self.nodes.len() {
            let line = match &self.nodes[at] {
                None => "is down".to_owned(),
                Some(node) => match node.store().get(key) {
                    None => "holds nothing".to_owned(),
                    Some(State::Ended(tombstone)) => {
                        format!("holds its end: {:?}", tombstone.reason)
                    }
                    Some(State::Alive(session)) => format!("holds {}", content_of(session)),
                },
            };
            self.say(&format!("n{} {line}", at + 1));
        }
    }
}

/// `n1` is 0; a wrong name is the first node.
fn index(name: &str) -> usize {
    name.trim_start_matches('n').parse::<usize>().unwrap_or(1).saturating_sub(1)
}

fn key(name: &str) -> SessionKey {
    let mut key = [0; SessionKey::BYTES];
    for (byte, letter) in key.iter_mut().skip(2).zip(name.bytes()) {
        *byte = letter;
    }
    SessionKey(key)
}

fn edit(word: &str) -> Option<Edit> {
    let name = |text: &str| Name::new(text).ok();
    if let Some((counter, amount)) = word.split_once("=+") {
        return Some(Edit::Add(name(counter)?, amount.parse().ok()?));
    }
    if let Some((register, value)) = word.split_once('=') {
        return Some(Edit::Set(name(register)?, Value::from(value)));
    }
    if let Some((set, element)) = word.split_once('+') {
        return Some(Edit::Insert(name(set)?, Value::from(element)));
    }
    if let Some((set, element)) = word.split_once('-') {
        return Some(Edit::Withdraw(name(set)?, Value::from(element)));
    }
    Some(Edit::Remove(name(word.strip_suffix('!')?)?))
}

fn content_of(session: &session::Session) -> String {
    let text = |value: &Value| String::from_utf8_lossy(value.bytes()).into_owned();
    let parts: Vec<String> = session
        .present()
        .map(|(name, content)| {
            let name = name.as_str();
            match content {
                Content::Absent => String::new(),
                Content::Register(value) => format!("{name}={}", text(value)),
                Content::Counter(counter) => format!("{name}={}", counter.value()),
                Content::Set(set) => {
                    let elements: Vec<String> = set.iter().map(text).collect();
                    format!("{name}={{{}}}", elements.join(","))
                }
            }
        })
        .collect();
    if parts.is_empty() { "an empty session".to_owned() } else { parts.join(" ") }
}

fn opened_as(opened: &Opened) -> String {
    match opened {
        Opened::Session { session, lost } if lost.is_empty() => {
            format!("serves {}", content_of(session))
        }
        Opened::Session { session, lost } => {
            format!("serves {}, {} writes lost", content_of(session), lost.len())
        }
        Opened::Ended(tombstone) => format!("says it ended: {:?}", tombstone.reason),
        Opened::NotFound => "says there is none".to_owned(),
        Opened::Unavailable => "cannot tell now".to_owned(),
    }
}

fn committed_as(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(acked) => {
            format!("did it, {} of {} others have it", acked.report.got, acked.report.asked)
        }
        Outcome::Gone => "says the session is gone".to_owned(),
        Outcome::Refused(error) => format!("refuses: {error}"),
        Outcome::Full => "is full".to_owned(),
        Outcome::Unavailable => "cannot do it now".to_owned(),
        Outcome::Unknown => "does not know whether it was done".to_owned(),
    }
}
