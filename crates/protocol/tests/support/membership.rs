//! The log of membership of a test: one roster, and views that nodes get when the test wants.

use std::num::NonZeroU16;

use protocol::{Copies, Decision, Options, Refused, Roster, Rules, View, Zone};
use session::{Inc, Slot, State};

use super::{Host, Net};

/// Shards of clusters with agreed views: one shard has few slots, which makes a node cheap.
pub(crate) const SHARDS: u16 = 64;

/// Slots of the only shard that there is.
pub(crate) const SLOTS: u16 = Slot::COUNT / SHARDS;

/// What the members have agreed upon.
pub(crate) struct Membership {
    roster: Roster,
    /// Index of the latest decision.
    index: u64,
    /// True while the log hears at once of who is synced, and every node of every view.
    pub(crate) follows: bool,
    /// Every view so far.
    pub(crate) views: Vec<View>,
}

/// That many copies; 0 for all.
pub(crate) fn copies(count: u16) -> Copies {
    NonZeroU16::new(count).map_or(Copies::All, Copies::Count)
}

/// What every node under agreed views runs with.
pub(crate) fn few_shards(options: &mut Options) {
    options.shards = SHARDS;
    // A batch that is lost is sent anew after a second.
    options.ack_timeout_ms = 3_000;
}

impl Net {
    /// `count` members by agreement that serve, of which `number` hold each session (0: all), and
    /// `more` hosts that are no members yet.
    pub(crate) fn agreed(count: usize, number: u16, more: usize) -> Self {
        Self::agreed_with(count, number, more, few_shards)
    }

    /// The same with changed options, [`few_shards`] among them.
    pub(crate) fn agreed_with(
        count: usize,
        number: u16,
        more: usize,
        options: fn(&mut Options),
    ) -> Self {
        let mut net = Self::down(count + more, options);
        net.membership = Some(Membership {
            roster: Roster::new(SLOTS, Rules::default()),
            index: 0,
            follows: true,
            views: Vec::new(),
        });
        net.decide(Decision::Begin {
            generation: 1,
            copies: copies(number),
            protocol: protocol::wire::WIRE_VERSION,
        })
        .expect("the first");
        for host in 0..count {
            net.join(host);
        }
        net.settle();
        net.log.clear();
        net
    }

    pub(crate) fn membership(&self) -> &Membership {
        self.membership.as_ref().expect("an agreed view")
    }

    pub(crate) fn membership_mut(&mut self) -> &mut Membership {
        self.membership.as_mut().expect("an agreed view")
    }

    /// The present view by the log, whoever has it.
    pub(crate) fn view(&self) -> &View {
        self.membership().roster.view()
    }

    /// The log tells nobody anything any more, and hears of nothing: the test does it.
    pub(crate) fn hold_views(&mut self) {
        self.membership_mut().follows = false;
    }

    /// The log tells everybody everything again.
    pub(crate) fn release_views(&mut self) {
        self.membership_mut().follows = true;
        self.follow();
    }

    /// The log takes a decision.
    #[expect(clippy::needless_pass_by_value, reason = "so the stories read better")]
    pub(crate) fn decide(&mut self, decision: Decision) -> Result<(), Refused> {
        let membership = self.membership_mut();
        membership.index += 1;
        membership.roster.apply(membership.index, &decision)?;
        membership.views.push(membership.roster.view().clone());
        self.follow();
        Ok(())
    }

    /// A process of that host starts and joins; it has the view that this brings about, and is
    /// connected with all that run.
    pub(crate) fn join(&mut self, host: usize) {
        let follows = std::mem::replace(&mut self.membership_mut().follows, false);
        let (name, start) = (self.hosts[host].name.clone(), self.membership().index + 1);
        self.decide(Decision::Join {
            name,
            address: "".into(),
            zone: Zone::default(),
            start,
            version: protocol::wire::WIRE_VERSION,
        })
        .expect("it is new");
        self.start_as(host, Inc(start), self.view().clone());
        for other in 0..self.hosts.len() {
            if other != host && self.hosts[other].node.is_some() {
                self.connect(host, other);
                self.connect(other, host);
            }
        }
        self.drain(host);
        self.membership_mut().follows = follows;
        self.follow();
    }

    fn connect(&mut self, host: usize, other: usize) {
        let (name, inc, now) = (self.hosts[other].name.clone(), self.inc(other), self.time(host));
        self.hosts[host].liveness.handle_up(&name, inc, now);
        self.drain(host);
    }

    /// A member is to hand over what it has.
    pub(crate) fn drain_member(&mut self, host: usize) {
        let inc = self.inc(host);
        self.decide(Decision::Drain { inc }).expect("it is a member");
    }

    /// A process is no member any more, whatever that loses.
    pub(crate) fn remove(&mut self, inc: Inc) {
        self.decide(Decision::Remove { inc, accept_loss: true }).expect("it is a member");
    }

    /// Another number of copies; 0 for all.
    pub(crate) fn resize(&mut self, number: u16) {
        self.decide(Decision::Resize { copies: copies(number) }).expect("it is another");
    }

    /// Three members, and a key of `a` alone, which leaves: `c` owns the key by the view after that,
    /// has heard of it and has caught up, and `b` goes by the view before.
    pub(crate) fn owned_later() -> (Self, session::SessionKey) {
        let mut net = Self::agreed(3, 2, 0);
        let key = net.key_owned_by(&[0, 2]);
        net.resize(1);
        net.settle();
        net.hold_views();
        net.drain_member(0);
        [0, 2].into_iter().for_each(|host| net.hand(host));
        net.run_until("c has caught up", |net| net.node(2).speaks_for(key));
        (net, key)
    }

    /// `host` gets the present view.
    pub(crate) fn hand(&mut self, host: usize) {
        let view = self.view().clone();
        self.hand_view(host, view);
    }

    /// `host` gets a view.
    pub(crate) fn hand_view(&mut self, host: usize, view: View) {
        let now = self.time(host);
        self.hosts[host].node.as_mut().expect("it runs").handle_view(view, now);
        self.drain(host);
    }

    /// The log hears of every layout in which the process of `host` has caught up.
    pub(crate) fn report(&mut self, host: usize) {
        let inc = self.inc(host);
        for epoch in std::mem::take(&mut self.hosts[host].synced) {
            let told = self.decide(Decision::Synced { inc, epoch });
            assert!(matches!(told, Ok(()) | Err(Refused::NoNews | Refused::NoMember)), "{told:?}");
        }
    }

    /// If nobody holds views back: the log hears who is synced, and everybody gets the view.
    pub(super) fn follow(&mut self) {
        while self.membership.as_ref().is_some_and(|membership| membership.follows) {
            let said = |host: &Host| host.node.is_some() && !host.synced.is_empty();
            if let Some(host) = self.hosts.iter().position(said) {
                self.report(host);
                continue;
            }
            let (generation, epoch) = (self.view().generation, self.view().epoch);
            let late = |host: &Host| {
                let behind = |view: &View| (view.generation, view.epoch) < (generation, epoch);
                !host.removed && host.node.as_ref().is_some_and(|node| behind(node.view()))
            };
            match self.hosts.iter().position(late) {
                Some(host) => self.hand(host),
                None => return,
            }
        }
    }

    /// Goes on until the transition is over, all owners hold the same and nobody else anything.
    pub(crate) fn settle(&mut self) {
        self.run_until("the transition is over", Self::is_settled);
        self.run_ms(100);
    }

    /// True if there is one layout, all its owners hold the same, and nobody else holds anything.
    pub(crate) fn is_settled(&self) -> bool {
        let members = || self.nodes().filter(|node| self.view().contains(node.inc()));
        self.view().layouts.len() == 1
            && members().all(|node| node.view() == self.view() && node.is_drained())
            && (0..SLOTS).filter_map(Slot::new).all(|slot| self.is_equal(slot))
    }

    fn is_equal(&self, slot: Slot) -> bool {
        let key = super::key(slot.number());
        let mut digests = self
            .nodes()
            .filter(|node| node.owns(key) && self.view().contains(node.inc()))
            .map(|node| node.store().digest(slot));
        let first = digests.next();
        digests.all(|digest| Some(digest) == first)
            && self.nodes().all(|node| node.owns(key) || node.store().is_empty(slot))
    }

    /// The hosts that own a key by the view of `host`, in order.
    pub(crate) fn owners(&self, host: usize, key: session::SessionKey) -> Vec<usize> {
        let owners = self.node(host).owners(key);
        owners.into_iter().filter_map(|inc| self.host_of(inc)).collect()
    }

    /// A key that exactly these hosts own by the view of the first one, in this order.
    pub(crate) fn key_owned_by(&self, hosts: &[usize]) -> session::SessionKey {
        let mut keys = (0..SLOTS).map(super::key);
        keys.find(|key| self.owners(hosts[0], *key) == hosts).expect("a slot of these owners")
    }

    /// Sessions and tombstones that a host holds under a key: none or one.
    pub(crate) fn holds(&self, host: usize, key: session::SessionKey) -> bool {
        let state: Option<&State> = self.node(host).store().get(key);
        state.is_some()
    }
}
