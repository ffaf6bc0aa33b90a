//! The line that says how far a scenario is.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::{Cell, RefCell};

/// How often the line is drawn anew.
const DRAW: Duration = Duration::from_millis(100);

/// Says what happens: one line that changes for whoever looks at a terminal, a line for each step
/// elsewhere, or nothing.
#[derive(Debug)]
pub struct Watch {
    bar: ProgressBar,
    is_verbose: bool,
    title: RefCell<String>,
    began: Cell<Instant>,
}

impl Watch {
    /// For people.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        let is_verbose = bar.is_hidden();
        Self { is_verbose, ..Self::of(bar) }
    }

    /// For nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self::of(ProgressBar::hidden())
    }

    fn of(bar: ProgressBar) -> Self {
        Self { bar, is_verbose: false, title: RefCell::default(), began: Cell::new(Instant::now()) }
    }

    /// Something begins.
    pub fn begin(&self, title: &str) {
        title.clone_into(&mut self.title.borrow_mut());
        self.began.set(Instant::now());
        self.bar.reset();
        self.bar.enable_steady_tick(DRAW);
        self.say("starting");
    }

    /// What happens now.
    pub fn say(&self, step: &str) {
        let title = self.title.borrow();
        self.bar.set_message(format!("{title}: {step}"));
        if self.is_verbose {
            eprintln!("{:>6.1} {title}: {step}", self.began.get().elapsed().as_secs_f64());
        }
    }

    /// It is over.
    pub fn end(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}
