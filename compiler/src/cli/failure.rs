//! One diagnostic per failure: what went wrong and where, why, and what to do.

use super::output::printable;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use snnc::data::DataError;
use std::error::Error;
use std::fmt::{self, Display};
use std::io::IsTerminal;

/// Any error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    message: String,
    cause: Option<Box<Failure>>,
    help: Option<String>,
}

impl Failure {
    /// A failure that this program found itself.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), cause: None, help: None }
    }

    /// A library's error with the chain of its causes. A cause that its error already quotes is left out.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let message = error.to_string();
        let mut source = error.source();
        while let Some(s) = source.filter(|s| message.contains(&s.to_string())) {
            source = s.source();
        }
        Failure { message, cause: source.map(|s| Box::new(Failure::from_error(s))), help: None }
    }

    /// Says what the failed action was; what was known so far becomes its cause.
    pub fn while_doing(self, action: impl Into<String>) -> Self {
        let help = self.help.clone();
        Failure { message: action.into(), cause: Some(Box::new(Failure { help: None, ..self })), help }
    }

    /// Adds what the user can do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the name that a mistyped one may have meant, if there is one.
    pub fn did_you_mean(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Prints the diagnostic on standard error: on a terminal coloured (unless NO_COLOR is set, <https://no-color.org>) and broken into lines, elsewhere plain and every part whole, so that
    /// a search for a phrase finds it whatever the paths are.
    pub fn print(&self) {
        let terminal = std::io::stderr().is_terminal();
        let colours = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let theme = match (terminal, colours) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => GraphicalTheme::unicode_nocolor(),
            (false, _) => GraphicalTheme::none(),
        };
        let width = terminal_size::terminal_size_of(std::io::stderr()).map_or(100, |(width, _)| usize::from(width.0).min(100));
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(width).with_wrap_lines(terminal);
        let mut text = String::new();
        if handler.render_report(&mut text, self).is_err() {
            text = format!("{self}\n");
        }
        super::output::tell(&text);
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.message))
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|c| c as &(dyn Error + 'static))
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(printable(h)) as Box<dyn Display>)
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let failure = Failure::from_error(&error);
        match error.help() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<snnc::passes::OptionError> for Failure {
    fn from(error: snnc::passes::OptionError) -> Self {
        Failure::from_error(&error).did_you_mean(error.suggestion())
    }
}

impl From<snnc::recipe::RecipeError> for Failure {
    fn from(error: snnc::recipe::RecipeError) -> Self {
        Failure::from_error(&error).did_you_mean(error.suggestion().as_deref())
    }
}

macro_rules! from_errors {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::from_error(&error)
            }
        })*
    };
}

from_errors!(
    snnc::frontend::onnx::ImportError,
    snnc::frontend::onnx::check::CheckError,
    snnc::frontend::onnx::oracle::OracleError,
    snnc::passes::pipeline::PipelineError,
    snn_ir::file::WriteError,
);
