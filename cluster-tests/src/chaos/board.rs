//! What whoever waits sees: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar is drawn anew.
const DRAW: Duration = Duration::from_millis(200);

/// How far a run is.
#[derive(Debug)]
pub struct Board {
    bar: ProgressBar,
    started: Instant,
    is_verbose: bool,
}

impl Board {
    /// Of a run of so long.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let bar = ProgressBar::new(length.as_secs());
        let template = "{bar:30} {elapsed_precise} of {len}s  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let is_verbose = bar.is_hidden();
        if !is_verbose {
            bar.enable_steady_tick(DRAW);
        }
        Self { bar, started: Instant::now(), is_verbose }
    }

    /// For nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), started: Instant::now(), is_verbose: false }
    }

    /// Something happens.
    pub fn say(&self, what: &str) {
        self.tick();
        self.bar.set_message(what.to_owned());
        if self.is_verbose {
            eprintln!("{:>7.1} {what}", self.started.elapsed().as_secs_f64());
        }
    }

    /// Time passes.
    pub fn tick(&self) {
        let length = self.bar.length().unwrap_or_default();
        self.bar.set_position(self.started.elapsed().as_secs().min(length));
    }

    /// It is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
