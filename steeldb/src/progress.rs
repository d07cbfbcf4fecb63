//! Which step, how far: a moving line at a terminal, plain lines elsewhere. On standard error, so that standard output
//! holds the result alone.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

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
