//! Browsers: they keep their cookies, make requests to any host, and believe what they are told.

mod draw;

use protocol::{Ack, Commit, Life, Opened, Outcome, Ticket};
use session::{
    Content, Core, Edit, EndReason, Name, SKEW_MS_MAX, Session, SessionKey, State, Time, Token,
    User, Version, touch_granularity_ms,
};

use crate::fault::FaultKind;
use crate::world::{Arrival, Phase, Violation, World};

/// How long a request may take at its host, in milliseconds.
const DEADLINE_MS: u64 = 5_000;

/// How long a browser waits, in microseconds.
const PATIENCE_US: u64 = 16_000_000;

/// The counter that nobody resets, so that every addition must be found in it.
pub(crate) const COUNTER: &str = "n";

/// A browser: the session it believes to have, and how many answers it waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<(SessionKey, Token)>,
    pub(crate) waiting: u32,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Edit(Vec<Edit>),
    /// Makes a session if there is none, else gives it a fresh id.
    Login,
    Logout,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its session is opened, its handler works, its edits are committed.
    Usual,
    /// A login makes the new session.
    Creating,
    /// A login ends the old session.
    Ending,
    /// A login whose old session could not be ended, or had ended, ends the new one again.
    Undoing,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) browser: usize,
    pub(crate) host: usize,
    pub(crate) purpose: Purpose,
    pub(crate) cookie: Option<(SessionKey, Token)>,
    /// The copy that its handler works on.
    pub(crate) opened: Option<Box<Session>>,
    /// The session that a login has made, until the old one has ended.
    pub(crate) fresh: Option<(SessionKey, Token)>,
    /// Its host knows that the old session of a login has ended.
    pub(crate) is_late: bool,
    pub(crate) stage: Stage,
    pub(crate) level: Ack,
    pub(crate) began_us: u64,
    /// Hosts, with their processes' starts, whose copy covered the token when it began.
    pub(crate) holders: Vec<(usize, u64, Time)>,
    /// Crashes before it began.
    pub(crate) crashes: u64,
    /// Slots given up before it began.
    pub(crate) given_up: u64,
    /// The last entry of the log of membership before it began.
    pub(crate) decided: u64,
    /// The browser no longer waits.
    pub(crate) abandoned: bool,
}

impl World {
    /// A client with nothing to wait for makes one request, or several at once.
    pub(crate) fn make_request(&mut self) {
        let browser = self.rng.usize(0..self.browsers.len());
        if self.browsers[browser].waiting > 0 {
            return;
        }
        let burst = if self.rng.u8(0..10) == 0 { self.rng.usize(2..5) } else { 1 };
        for _ in 0..burst {
            let Some(host) = self.draw_host() else { continue };
            let purpose = self.draw_purpose(browser);
            // Few clients can only be busy if they do not wait.
            let local = if self.kinds.contains(&FaultKind::Hot) { 7 } else { 1 };
            let level = match self.rng.u8(0..10) {
                n if n < local => Ack::Local,
                7 => Ack::All,
                8 => Ack::Quorum,
                _ => Ack::One,
            };
            let request = Request {
                browser,
                host,
                purpose,
                cookie: self.browsers[browser].cookie.clone(),
                opened: None,
                fresh: None,
                is_late: false,
                stage: Stage::Usual,
                level,
                began_us: self.now_us,
                holders: Vec::new(),
                crashes: self.oracle.crashes,
                given_up: self.oracle.given_up,
                decided: self.log.index,
                abandoned: false,
            };
            self.begun_after += u64::from(self.is_after_faults(&request));
            let id = self.next_request;
            self.next_request += 1;
            self.requests.insert(id, request);
            self.browsers[browser].waiting += 1;
            self.report.requests += 1;
            let in_us = self.rng.u64(10..2_000);
            self.schedule_arrival(in_us, host, Arrival::Begin(id));
            self.schedule_give_up(PATIENCE_US, id);
        }
    }

    // --- at the host ---

    pub(crate) fn begin_request(&mut self, host: usize, id: u64) {
        let now = self.hosts[host].now(self.now_us);
        let Some(request) = self.requests.get(&id) else { return };
        let cookie = request.cookie.clone();
        let Some((key, token)) = cookie else {
            self.schedule_arrival(0, host, Arrival::Finish(id));
            return;
        };
        let holders = self.holders_of(key, &token.version);
        let (crashes, given_up) = (self.oracle.crashes, self.oracle.given_up);
        let decided = self.log.index;
        if let Some(request) = self.requests.get_mut(&id) {
            request.holders = holders;
            request.crashes = crashes;
            request.given_up = given_up;
            request.decided = decided;
        }
        let token = (self.rng.u8(0..50) > 0).then_some(token);
        if token.is_none() {
            // A browser that lost its token has seen nothing.
            if let Some(request) = self.requests.get_mut(&id) {
                request.cookie = Some((key, Token::default()));
            }
        }
        let Some(process) = &mut self.hosts[host].process else { return self.done(id) };
        process.node.open(Ticket(id), key, token, now.plus(DEADLINE_MS), now);
    }

    pub(crate) fn opened(&mut self, host: usize, id: u64, opened: Opened) -> Result<(), Violation> {
        self.check_opened(host, id, &opened)?;
        self.trace(|_| format!("request {id} at n{}: {}", host + 1, describe(&opened)));
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        match opened {
            Opened::Session { session, .. } => {
                request.opened = Some(session);
                let in_us = match self.rng.u8(0..20) {
                    0 => self.rng.u64(100_000..4_000_000),
                    _ => self.rng.u64(10..20_000),
                };
                self.schedule_arrival(in_us, host, Arrival::Finish(id));
            }
            Opened::Ended(_) | Opened::NotFound => {
                let (browser, key) = (request.browser, request.cookie.as_ref().map(|c| c.0));
                if self.browsers[browser].cookie.as_ref().map(|c| c.0) == key {
                    self.browsers[browser].cookie = None;
                }
                self.done(id);
            }
            Opened::Unavailable => {
                self.note_refused(id);
                self.done(id);
            }
        }
        Ok(())
    }

    /// The handler of a request has finished: its edits are committed.
    pub(crate) fn finish_request(&mut self, host: usize, id: u64) {
        let Some(request) = self.requests.get(&id).cloned() else { return };
        match (&request.purpose, &request.opened) {
            (Purpose::Login, _) => self.login(host, id, &request),
            (_, None) => self.done(id),
            (Purpose::Read, Some(session)) => self.read(host, id, session, &request),
            (Purpose::Edit(edits), Some(session)) => {
                self.commit(host, id, session, Life::Keep, edits.clone(), request.level);
            }
            (Purpose::Logout, Some(session)) => {
                let life = Life::End(EndReason::Logout);
                self.commit(host, id, session, life, Vec::new(), request.level.max(Ack::One));
            }
        }
    }

    fn read(&mut self, host: usize, id: u64, session: &Session, request: &Request) {
        let now = self.hosts[host].now(self.now_us);
        if session.wants_touch(now) {
            return self.commit(host, id, session, Life::Keep, Vec::new(), Ack::Local);
        }
        if let Some((key, _)) = request.cookie {
            self.take_cookie(request.browser, key, session.version.clone(), session.purge_after());
        }
        self.done(id);
    }

    fn commit(
        &mut self,
        host: usize,
        id: u64,
        session: &Session,
        life: Life,
        edits: Vec<Edit>,
        level: Ack,
    ) {
        let now = self.hosts[host].now(self.now_us);
        let Some(key) = self.requests.get(&id).and_then(|r| r.cookie.as_ref()).map(|c| c.0) else {
            return self.done(id);
        };
        let commit = Commit { key, life, at: session.version.clone(), edits, level };
        self.oracle.attempted(&commit);
        self.trace(|_| format!("request {id} commits {commit:?}"));
        let Some(process) = &mut self.hosts[host].process else { return self.done(id) };
        process.node.commit(Ticket(id), commit, now.plus(DEADLINE_MS), now);
    }

    /// Rule D2: a new session with a copy of the attributes; then the old one ends.
    fn login(&mut self, host: usize, id: u64, request: &Request) {
        let now = self.hosts[host].now(self.now_us);
        let (absolute_ms, idle_ms) = self.draw_lives();
        let key = self.draw_key(host);
        let edits = request.opened.as_deref().map(copy_edits).unwrap_or_default();
        let signed_in = self.rng.u8(0..3) > 0;
        let user = User::new(format!("u{}", request.browser)).ok().filter(|_| signed_in);
        let Some(process) = &mut self.hosts[host].process else { return self.done(id) };
        let created = process.node.stamp(now);
        let hard_deadline = created.hlc.time().plus(absolute_ms);
        let core = Core { created, hard_deadline, idle_ms, user };
        let life = Life::Create(core);
        let commit = Commit { key, life, at: Version::new(), edits, level: request.level };
        self.oracle.attempted(&commit);
        self.trace(|_| format!("request {id} creates {key:?}"));
        let expire =
            created.hlc.time().plus(idle_ms + touch_granularity_ms(idle_ms) + 2 * SKEW_MS_MAX);
        if let Some(request) = self.requests.get_mut(&id) {
            let may_expire = expire.min(hard_deadline);
            request.fresh = Some((key, Token { version: created.into(), may_expire }));
            request.stage = Stage::Creating;
        }
        let Some(process) = &mut self.hosts[host].process else { return self.done(id) };
        process.node.commit(Ticket(id), commit, now.plus(DEADLINE_MS), now);
    }

    pub(crate) fn committed(
        &mut self,
        host: usize,
        id: u64,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        self.trace(|_| format!("request {id} at n{}: {outcome:?}", host + 1));
        let Some(request) = self.requests.get(&id).cloned() else { return Ok(()) };
        self.check_committed(id, &request, &outcome)?;
        self.report.commits += u64::from(matches!(outcome, Outcome::Done(_)));
        match (request.stage, outcome) {
            (Stage::Usual, Outcome::Done(acked)) if request.purpose == Purpose::Logout => {
                self.browsers[request.browser].cookie = None;
                drop(acked);
                self.done(id);
            }
            (Stage::Usual, Outcome::Done(acked)) => {
                if let (Some((key, _)), Some(session)) = (&request.cookie, &request.opened) {
                    let expire = session.purge_after();
                    self.take_cookie(request.browser, *key, acked.version, expire);
                }
                self.done(id);
            }
            (Stage::Usual, Outcome::Gone) => {
                if !request.abandoned {
                    self.browsers[request.browser].cookie = None;
                }
                self.done(id);
            }
            (Stage::Creating, Outcome::Done(acked)) => self.created(host, id, acked.version),
            (Stage::Ending, Outcome::Done(_)) => self.logged_in(id, &request),
            (Stage::Ending, Outcome::Gone) => {
                // A login of the same browser may have been faster.
                let (browser, old) = (request.browser, request.cookie.as_ref().map(|c| c.0));
                if self.browsers[browser].cookie.as_ref().map(|c| c.0) == old {
                    self.browsers[browser].cookie = None;
                }
                self.undo(host, id);
            }
            (
                Stage::Ending,
                Outcome::Refused(_) | Outcome::Full | Outcome::Unavailable | Outcome::Unknown,
            ) => {
                self.note_refused(id);
                self.undo(host, id);
            }
            (Stage::Usual | Stage::Creating, Outcome::Unavailable | Outcome::Unknown) => {
                self.note_refused(id);
                self.done(id);
            }
            (Stage::Undoing, _)
            | (Stage::Creating, Outcome::Gone)
            | (Stage::Usual | Stage::Creating, Outcome::Refused(_) | Outcome::Full) => {
                self.done(id);
            }
        }
        Ok(())
    }

    /// The new session of a login is made; the old one, if any, ends at level `all` (D2, 16).
    fn created(&mut self, host: usize, id: u64, version: Version) {
        let old = self.requests.get(&id).and_then(|request| request.cookie.as_ref()).map(|c| c.0);
        let is_late = old.is_some_and(|key| matches!(self.held(host, key), Some(State::Ended(_))));
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.is_late = is_late;
        if let Some((_, token)) = &mut request.fresh {
            token.version = version;
        }
        request.stage = Stage::Ending;
        let request = request.clone();
        match &request.opened {
            None => self.logged_in(id, &request),
            Some(session) => {
                let life = Life::End(EndReason::Rotated);
                self.commit(host, id, session, life, Vec::new(), Ack::All);
            }
        }
    }

    /// Rule D2: nobody learns of the new session, and nothing of it stays.
    fn undo(&mut self, host: usize, id: u64) {
        let now = self.hosts[host].now(self.now_us);
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.stage = Stage::Undoing;
        request.cookie = request.fresh.take();
        let Some((key, token)) = request.cookie.clone() else { return self.done(id) };
        let (life, edits) = (Life::End(EndReason::Rotated), Vec::new());
        let commit = Commit { key, life, at: token.version, edits, level: Ack::All };
        self.oracle.attempted(&commit);
        self.trace(|_| format!("request {id} ends {key:?} again"));
        let Some(process) = &mut self.hosts[host].process else { return self.done(id) };
        process.node.commit(Ticket(id), commit, now.plus(DEADLINE_MS), now);
    }

    fn logged_in(&mut self, id: u64, request: &Request) {
        if !request.abandoned {
            self.browsers[request.browser].cookie.clone_from(&request.fresh);
        }
        self.done(id);
    }

    fn take_cookie(&mut self, browser: usize, key: SessionKey, version: Version, expire: Time) {
        let held = &mut self.browsers[browser].cookie;
        if held.as_ref().is_some_and(|(held, _)| *held == key) {
            *held = Some((key, Token { version, may_expire: expire }));
        }
    }

    // --- ends of requests ---

    fn done(&mut self, id: u64) {
        if let Some(request) = self.requests.remove(&id)
            && !request.abandoned
        {
            self.browsers[request.browser].waiting -= 1;
        }
    }

    pub(crate) fn give_up(&mut self, id: u64) {
        if let Some(request) = self.requests.get_mut(&id)
            && !std::mem::replace(&mut request.abandoned, true)
        {
            self.browsers[request.browser].waiting -= 1;
        }
    }

    pub(crate) fn fail_requests_of(&mut self, host: usize) {
        let of_host = |(id, request): (&u64, &Request)| (request.host == host).then_some(*id);
        let ids: Vec<u64> = self.requests.iter().filter_map(of_host).collect();
        for id in ids {
            self.done(id);
        }
    }

    /// How long after the last fault every request has to be served, in microseconds: where views
    /// are agreed, hosts have to become members first.
    pub(crate) fn settle_us(&self) -> u64 {
        if self.scenario.is_agreed() { 14_000_000 } else { 8_000_000 }
    }

    /// True while every request must be answered.
    pub(crate) fn must_serve(&self) -> bool {
        self.phase == Phase::Calm && self.now_us > self.calm_since_us + self.settle_us()
    }
}

pub(crate) fn name(text: &str) -> Name {
    #[expect(clippy::expect_used, reason = "names of the simulator are short")]
    Name::new(text).expect("a short name")
}

/// The edits that make a new session equal to an old one.
fn copy_edits(session: &Session) -> Vec<Edit> {
    session
        .present()
        .flat_map(|(name, content)| match content {
            Content::Absent => Vec::new(),
            Content::Register(value) => vec![Edit::Set(name.clone(), value.clone())],
            Content::Counter(counter) => vec![Edit::Add(name.clone(), counter.value())],
            Content::Set(set) => {
                set.iter().map(|e| Edit::Insert(name.clone(), e.clone())).collect()
            }
        })
        .collect()
}

fn describe(opened: &Opened) -> String {
    match opened {
        Opened::Session { session, lost } if lost.is_empty() => format!("at {:?}", session.version),
        Opened::Session { session, lost } => format!("at {:?} lost {lost:?}", session.version),
        Opened::Ended(tombstone) => format!("{tombstone:?}"),
        Opened::NotFound => "not found".to_owned(),
        Opened::Unavailable => "unavailable".to_owned(),
    }
}
