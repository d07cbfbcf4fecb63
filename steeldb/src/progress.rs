//! Which step, how far: a moving line at a terminal, plain lines elsewhere. On standard error, so that standard output
//! holds the result alone.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Characters of a bar that shows a share.
const BAR: usize = 20;

/// The progress of one command.
pub struct Progress {
    bar: Option<ProgressBar>,
    shown: String,
}

impl Progress {
    pub fn start() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                .expect("the template is a constant and valid");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress {
            bar,
            shown: String::new(),
        }
    }

    /// What is being done now. Saying the same again shows nothing.
    pub fn step(&mut self, what: impl Into<String>) {
        let what = what.into();
        if what == self.shown {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(what.clone()),
            None => eprintln!("{what}"),
        }
        self.shown = what;
    }

    /// What is being done now, and how much of it is done.
    pub fn share(&mut self, what: &str, done: u64, of: u64) {
        let parts = if self.bar.is_some() { 1000 } else { 10 };
        let part = (u128::from(done) * parts / u128::from(of.max(1))) as usize;
        let filled = part * BAR / parts as usize;
        let bar = format!(
            "{}{}",
            "█".repeat(filled),
            "░".repeat(BAR.saturating_sub(filled))
        );
        // Elsewhere than at a terminal, a line for each tenth.
        let percent = part as f64 * 100.0 / parts as f64;
        self.step(format!("{what} {bar} {percent:.0} % of {of} rows"));
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
