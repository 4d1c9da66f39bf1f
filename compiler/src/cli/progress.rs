//! Progress bars on standard error: on a terminal only, silent in a pipe.

use super::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

fn style() -> ProgressStyle {
    let template = "{msg} [{bar:40}] {pos}/{len}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is constant").progress_chars("=> ")
}

/// A bar over `total` items, headed by `what`.
pub fn bar(total: usize, what: &'static str) -> ProgressBar {
    if output::is_quiet() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(total as u64).with_style(style()).with_message(what)
}

/// One bar for work in stages, each with a name and a length of its own.
pub struct Stages(ProgressBar);

impl Stages {
    /// A bar that shows nothing yet.
    pub fn new() -> Self {
        Stages(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_style(style()))
    }

    /// Shows that `done` of `total` items of stage `what` are done.
    pub fn show(&self, what: &str, done: usize, total: usize) {
        if output::is_quiet() {
            return;
        }
        let new = self.0.message() != what;
        if new {
            self.0.set_length(total as u64);
            self.0.set_position(done as u64);
            self.0.set_message(what.to_string());
            self.0.reset_eta();
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        } else if done as u64 > self.0.position() {
            // Threads report in any order.
            self.0.set_position(done as u64);
        }
    }

    /// Hides the bar while `print` prints.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
