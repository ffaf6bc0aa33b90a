//! Members that are agreed on, as the shards see them: a view begins, changes or ends what they are.

use std::collections::BTreeSet;

use membership::Letter;
use protocol::limits::NEIGHBOURS_A_SIDE;
use protocol::wire::Frame;
use protocol::{MemberName, View, neighbours};
use session::{Inc, Time};
use tokio::sync::watch;
use tokio::time::Instant;
use transport::NodeName;

use super::hang::HUNG;
use super::{Driver, Notice};
use crate::limits::{MEMBER_AGAIN, SHARDS};
use crate::links::{Agreed, Linked, Said, member_name, process};

impl Driver {
    /// A link with `peer` stands, and its process is one that this node can talk with.
    pub(crate) fn handle_up(&self, peer: &NodeName, said: Said) {
        self.links.note_version(peer, Some(said.version));
        let said = said.inc;
        self.with_agreed(|agreed, now| {
            let name = member_name(peer);
            let inc = if self.links.is_fixed() {
                if agreed.view.started(&name, said) {
                    let view = agreed.view.clone();
                    self.with_all(|node, now| node.handle_view(view.clone(), now));
                }
                Some(said)
            } else {
                process(&agreed.view, &name, said)
            };
            self.links.note(peer, inc);
            if let Some(inc) = inc {
                agreed.liveness.handle_up(&name, inc, now);
            }
            agreed.linked.insert(name, Linked { said, inc });
        });
        self.notify(Notice::Up(peer.clone()));
    }

    /// The link with `peer` is gone.
    pub(crate) fn handle_down(&self, peer: &NodeName) {
        self.with_agreed(|agreed, _| {
            let name = member_name(peer);
            agreed.linked.remove(&name);
            self.links.note_version(peer, None);
            agreed.liveness.handle_down(&name);
        });
        self.notify(Notice::Down(peer.clone()));
    }

    /// A later view is agreed on.
    pub(crate) fn handle_view(&self, view: &View) {
        self.with_agreed(|agreed, now| {
            if !view.supersedes(&agreed.view) {
                return;
            }
            let (before, after) = (self.links.own_inc(&agreed.view), self.links.own_inc(view));
            agreed.view = view.clone();
            if self.links.protocol() != view.protocol {
                tracing::info!("members speak wire version {} from now on", view.protocol);
                self.links.speak(view.protocol);
            }
            match after {
                Some(inc) if before != after => {
                    tracing::info!("this node is a member of view {}, as {}", view.epoch, inc.0);
                    self.synced_in.lock().clear();
                    self.start_shards(inc, view);
                    agreed.meet_again(inc);
                }
                Some(_) => self.with_all(|node, now| node.handle_view(view.clone(), now)),
                None => {
                    if before.is_some() {
                        tracing::error!("view {} goes on without this node", view.epoch);
                    }
                    // What it holds may be out of date from now on, and nobody takes it any more.
                    self.shards.write().clear();
                }
            }
            self.meet(agreed, now);
        });
        self.look_synced();
    }

    /// Members whose process is at the other end of a link are met, those that are none any more
    /// are not.
    fn meet(&self, agreed: &mut Agreed, now: Time) {
        let Agreed { view, liveness, linked } = agreed;
        let near = neighbours(view, &self.links.own_name(), NEIGHBOURS_A_SIDE);
        liveness.handle_neighbours(near, now);
        for (name, linked) in linked {
            let inc = process(view, name, linked.said);
            if inc == linked.inc {
                continue;
            }
            linked.inc = inc;
            if let Ok(peer) = name.0.parse() {
                self.links.note(&peer, inc);
            }
            match inc {
                Some(inc) => liveness.handle_up(name, inc, now),
                None => liveness.handle_down(name),
            }
        }
    }

    /// Asks those of these processes that are distant whether they are there.
    // Rule D5.
    pub(crate) fn doubt(&self, doubted: &BTreeSet<Inc>) {
        self.with_agreed(|agreed, now| agreed.liveness.ask(doubted, now));
    }

    /// True while it is not known whether that process, which was asked, is there.
    pub(crate) fn is_waiting_for(&self, inc: Inc) -> bool {
        self.links.agreed().liveness.is_waiting_for(inc)
    }

    /// True if heartbeats go between that member and this process all the time.
    pub(crate) fn is_near(&self, name: &MemberName) -> bool {
        self.links.agreed().liveness.is_near(name)
    }

    /// Members that do not answer.
    pub(crate) fn suspects(&self) -> BTreeSet<Inc> {
        let agreed = self.links.agreed();
        let answering: BTreeSet<Inc> = agreed.liveness.answering().collect();
        let own = self.links.own_inc(&agreed.view);
        let others = agreed.view.members.iter().filter_map(|m| m.inc).filter(|m| Some(*m) != own);
        others.filter(|inc| !answering.contains(inc)).collect()
    }

    /// What this process is in the view, if it is a member.
    pub(crate) fn own_inc(&self) -> Option<Inc> {
        self.links.own_inc(&self.links.agreed().view)
    }

    /// The nodes that there are links with.
    pub(crate) fn linked(&self) -> Vec<NodeName> {
        let agreed = self.links.agreed();
        agreed.linked.keys().filter_map(|name| name.0.parse().ok()).collect()
    }

    /// True if this process holds nothing any more that others need.
    pub(crate) fn has_handed_over(&self) -> bool {
        let mut handed_over = true;
        self.each(|node| handed_over &= node.handover().is_complete());
        handed_over
    }

    /// The epochs of layouts in force in which all shards have caught up.
    pub(crate) fn synced_epochs(&self) -> Vec<u64> {
        let agreed = self.links.agreed();
        let mut synced_in = self.synced_in.lock();
        synced_in.retain(|epoch, _| agreed.view.layouts.iter().any(|l| l.epoch == *epoch));
        synced_in.iter().filter(|(_, shards)| **shards >= SHARDS).map(|(epoch, _)| *epoch).collect()
    }

    /// Tells `agreement`. A letter that finds no room is lost, as any letter may be; of everything
    /// else a look at the next tick finds out.
    pub(super) fn notify(&self, notice: Notice) {
        if let Some(notices) = &self.notices
            && notices.try_send(notice).is_err()
        {
            self.meters.letters_dropped.count();
        }
    }

    /// Sends a letter to a node that there is a link with; false if it cannot be sent now.
    pub(crate) fn send_letter(&self, peer: &NodeName, letter: &Letter) -> bool {
        let letter = letter.to_bytes(self.links.version_for(peer));
        self.send(peer, transport::Lane::Control, &Frame::Letter(letter))
    }

    /// This process goes on after it has hung.
    pub(crate) fn note_hung(&self, now: Instant) {
        tracing::warn!("this process hung for more than {HUNG:?}");
        self.hang.lock().ends(now);
    }

    /// True as soon as this process has become a member since `starts` was looked at last; false if
    /// it does not in a moment, or takes no more commands.
    pub(super) async fn is_let_in(&self, starts: &mut watch::Receiver<u64>) -> bool {
        let is_let_in = tokio::time::timeout(MEMBER_AGAIN, starts.changed()).await;
        matches!(is_let_in, Ok(Ok(()))) && !self.is_closed()
    }

    /// True while this process has hung and does not know yet who still answers it.
    pub(crate) fn is_coming_back(&self) -> bool {
        self.hang.lock().matters(Instant::now(), || self.suspects().is_empty())
    }

    pub(super) fn look_synced(&self) {
        let mut synced = self.is_member();
        self.each(|node| synced &= node.is_synced());
        self.synced.send_if_modified(|known| std::mem::replace(known, synced) != synced);
    }
}
