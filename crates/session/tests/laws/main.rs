//! The laws of sessions as values: what holds for every history of writers, messages and losses.
//!
//! `PROPTEST_CASES` sets the number of histories per law; a failure prints the shortest one that
//! shows it.

mod commits;
mod copies;
mod deltas;
mod history;
mod oracle;
mod refusals;
mod states;
