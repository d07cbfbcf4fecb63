//! Which step, how far: a moving line at a terminal, plain lines elsewhere. On standard error, so that standard output
//! holds the result alone.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Characters of a bar that shows a share.
const BAR: usize = 20;

/// The progress of one command; whoever works on it at once may speak.
pub struct Progress {
    form: Form,
    shown: Mutex<String>,
}

enum Form {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    pub fn start() -> Progress {
        let form = match std::io::stderr().is_terminal() {
            true => {
                let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                    .expect("the template is a constant and valid");
                let bar = ProgressBar::new_spinner().with_style(style);
                bar.enable_steady_tick(Duration::from_millis(100));
                Form::Bar(bar)
            }
            false => Form::Lines,
        };
        Progress {
            form,
            shown: Mutex::default(),
        }
    }

    /// For work beside another that is shown.
    pub fn unseen() -> Progress {
        Progress {
            form: Form::Nothing,
            shown: Mutex::default(),
        }
    }

    /// What is being done now. Saying the same again shows nothing.
    pub fn step(&self, what: impl Into<String>) {
        let what = what.into();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if what == *shown {
            return;
        }
        match &self.form {
            Form::Bar(bar) => bar.set_message(what.clone()),
            Form::Lines => eprintln!("{what}"),
            Form::Nothing => {}
        }
        *shown = what;
    }

    /// What is being done now, and how much of it is done.
    pub fn share(&self, what: &str, done: u64, of: u64) {
        // Elsewhere than at a terminal, a line for each tenth.
        let parts = match self.form {
            Form::Bar(_) => 100,
            Form::Lines | Form::Nothing => 10,
        };
        let part = (u128::from(done) * parts / u128::from(of.max(1))) as usize;
        let (filled, percent) = (part * BAR / parts as usize, part * 100 / parts as usize);
        let bar = format!(
            "{}{}",
            "█".repeat(filled),
            "░".repeat(BAR.saturating_sub(filled))
        );
        self.step(format!("{what} {bar} {percent} % of {of} rows"));
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        match &self.form {
            Form::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Form::Lines => eprintln!("{line}"),
            Form::Nothing => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}
