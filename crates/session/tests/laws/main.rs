//! The laws of sessions as values: what holds for every history of writers, messages and losses.
//!
//! Each law runs `PROPTEST_CASES` times [`history::ROUNDS`] cases; a failure prints the shortest
//! history that shows it.

mod commits;
mod copies;
mod deltas;
mod history;
mod oracle;
mod refusals;
mod states;
