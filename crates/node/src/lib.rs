//! The program `replica-node`: the service that embeds `replica`, a demonstration of it, and the
//! commands around them. A library, so that tests start it from a program of their own.
//!
//! ```text
//!  cli       what can be asked for on the command line
//!  cert      authorities, certificates, token keys, ready configurations
//!  run       the service: its life, from the configuration to the drain
//!  contract  its plain endpoints, which any client can drive
//!  shop      its pages for people
//!  demo      a cluster on this machine: processes, a page, the way of its requests
//!  operate   what operators ask of a node over its QUIC port
//!  client    HTTP requests to a node
//! ```

mod cert;
mod cli;
mod client;
mod contract;
mod demo;
mod host;
mod memory;
mod operate;
mod run;
mod shop;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

/// Runs the program with the arguments of this process. What goes wrong is one line on the
/// standard error, for each thing that is wrong, and status 1; arguments that make no sense are
/// status 2.
#[must_use]
pub fn main() -> ExitCode {
    cli::Cli::parse().run().unwrap_or_else(|failure| {
        for line in failure.to_string().lines() {
            eprintln!("error: {line}");
        }
        ExitCode::FAILURE
    })
}

/// Writes a line to the standard output. Nobody may be reading; then nobody misses it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
