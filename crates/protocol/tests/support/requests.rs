//! What the applications of the nodes ask, and how a test waits for the answers.

use protocol::{Ack, Acked, Commit, Life, Opened, Outcome, Ticket};
use session::{Core, Edit, EndReason, SessionKey, Token, Version};

use super::{IDLE_MS, LIFE_MS, Net, REQUEST_MS, set};

impl Net {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Asks for a commit; answered in [`Host::committed`].
    pub(crate) fn ask(&mut self, host: usize, commit: Commit) -> Ticket {
        let (ticket, now) = (self.ticket(), self.time(host));
        let node = self.hosts[host].node.as_mut().expect("it runs");
        node.commit(ticket, commit, now.plus(REQUEST_MS), now);
        self.drain(host);
        ticket
    }

    /// Waits for the answer to a commit.
    pub(crate) fn outcome(&mut self, host: usize, ticket: Ticket) -> Outcome {
        self.run_until("the commit is answered", |net| {
            net.hosts[host].committed.contains_key(&ticket)
        });
        self.hosts[host].committed[&ticket].clone()
    }

    /// Commits, and waits until that is done.
    pub(crate) fn commit(&mut self, host: usize, commit: Commit) -> Acked {
        let ticket = self.ask(host, commit);
        match self.outcome(host, ticket) {
            Outcome::Done(acked) => acked,
            other => panic!("it was to be done, and is {other:?}"),
        }
    }

    /// A core that this node makes for a new session.
    pub(crate) fn core(&mut self, host: usize) -> Core {
        let now = self.time(host);
        let node = self.hosts[host].node.as_mut().expect("it runs");
        let created = node.stamp(now);
        Core { created, hard_deadline: now.plus(LIFE_MS), idle_ms: IDLE_MS, user: None }
    }

    /// The commit that creates a session with some edits.
    pub(crate) fn creation(&mut self, host: usize, key: SessionKey, edits: Vec<Edit>) -> Commit {
        let life = Life::Create(self.core(host));
        Commit { key, life, at: Version::new(), edits, level: Ack::Local }
    }

    /// The commit of some edits, by a request that has just opened the session at `host`.
    pub(crate) fn edits(&self, host: usize, key: SessionKey, edits: Vec<Edit>) -> Commit {
        let at = self.version(host, key);
        Commit { key, life: Life::Keep, at, edits, level: Ack::Local }
    }

    /// Creates a session at `host`.
    pub(crate) fn create(&mut self, host: usize, key: SessionKey) -> Acked {
        let commit = self.creation(host, key, Vec::new());
        self.commit(host, commit)
    }

    /// Creates a session at `host` and waits until all nodes are equal.
    pub(crate) fn create_everywhere(&mut self, host: usize, key: SessionKey) {
        self.create(host, key);
        self.run_until_calm();
    }

    /// Writes a register at `host`.
    pub(crate) fn write(&mut self, host: usize, key: SessionKey, value: &str) -> Acked {
        let commit = self.edits(host, key, vec![set("register", value)]);
        self.commit(host, commit)
    }

    /// The commit that ends a session.
    pub(crate) fn end(&self, host: usize, key: SessionKey, level: Ack) -> Commit {
        let life = Life::End(EndReason::Logout);
        Commit { key, life, at: self.version(host, key), edits: Vec::new(), level }
    }

    /// Asks to open a session; answered in [`Host::opened`].
    pub(crate) fn ask_open(
        &mut self,
        host: usize,
        key: SessionKey,
        token: Option<Token>,
    ) -> Ticket {
        self.ask_open_within(host, key, token, REQUEST_MS)
    }

    /// The same by a request that has that many milliseconds.
    pub(crate) fn ask_open_within(
        &mut self,
        host: usize,
        key: SessionKey,
        token: Option<Token>,
        ms: u64,
    ) -> Ticket {
        let (ticket, now) = (self.ticket(), self.time(host));
        let node = self.hosts[host].node.as_mut().expect("it runs");
        node.open(ticket, key, token, now.plus(ms), now);
        self.drain(host);
        ticket
    }

    /// Opens a session for a client that has seen `version`, if any.
    pub(crate) fn open(&mut self, host: usize, key: SessionKey, seen: Option<Version>) -> Opened {
        let may_expire = self.now.plus(LIFE_MS);
        let token = seen.map(|version| Token { version, may_expire });
        let ticket = self.ask_open(host, key, token);
        self.opened(host, ticket)
    }

    /// Waits for the answer to an open.
    pub(crate) fn opened(&mut self, host: usize, ticket: Ticket) -> Opened {
        self.run_until("the open is answered", |net| net.hosts[host].opened.contains_key(&ticket));
        self.hosts[host].opened[&ticket].clone()
    }
}
