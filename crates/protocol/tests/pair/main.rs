//! Rules of the protocol between a few nodes, each test a promise.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of message")]

#[path = "../support/mod.rs"]
mod support;

mod commits;
mod deltas;
mod endings;
mod floods;
mod hostile;
mod hostile_views;
mod late;
mod losses;
mod opening;
mod out_of_sight;
mod refusals;
mod removals;
mod repair;
mod rooms;
mod views;
