//! Log lines, on the standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Which lines are written unless `RUST_LOG` says so: openraft tells its whole state at `info`.
const DEFAULT: &str = "info,openraft=warn";

/// From now on what is logged is written; which lines is said by `RUST_LOG`.
pub(super) fn start(format: LogFormat) {
    let said = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|said| !said.is_empty());
    let filter = EnvFilter::builder().parse_lossy(said.as_deref().unwrap_or(DEFAULT));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
