//! What goes out. Files are written beside their place and moved there when complete, so that a full
//! disk, Ctrl-C or the end of a session leaves either the old file or the new one. Printing never
//! fails a command that has done its work: who closed standard error does not want notes.

use super::Failure;
use snnc::files;
use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{Builder, NamedTempFile};

/// Links that are followed from an output's name to its place, as Linux does.
const MOST_LINKS: usize = 40;

/// Temporary files that exist now.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn temporary() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the signals that ask a program to end (Ctrl-C, `kill`, a lost terminal) remove temporary
/// files first. The exit code is 128 and the signal's number, as shells expect. Signals that were
/// ignored at the start stay so: that is how `nohup` works.
#[cfg(unix)]
pub fn clean_up_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored >> (s - 1) & 1 == 0);
    // Without a handler the program dies as any other: worse, but no reason to refuse work.
    let Ok(mut signals) = signal_hook::iterator::Signals::new(wanted) else { return };
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            end(128 + signal);
        }
    };
    drop(std::thread::Builder::new().name("signals".into()).spawn(wait));
}

/// As on Unix, for Ctrl-C only.
#[cfg(not(unix))]
pub fn clean_up_on_signals() {
    let _ = ctrlc::set_handler(|| end(130));
}

fn end(code: i32) -> ! {
    let paths = temporary();
    paths.iter().for_each(|p| drop(std::fs::remove_file(p)));
    exit(code);
}

/// The signals that this process ignores, signal n as bit n - 1; none where the system does not say.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Writes a file by `fill`, all or nothing; `-` is standard output. Links are followed, also to a file
/// that is not there yet. What is no file (a device, a pipe) is written to as it is.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    if files::is_standard(path) {
        return fill_through(io::stdout().lock(), fill).map_err(|e| Failure::from_error(&e).while_doing("cannot write to standard output"));
    }
    let result = target(path).and_then(|target| match std::fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => fill_through(std::fs::OpenOptions::new().write(true).open(&target)?, fill),
        old => write_beside(&target, old.ok().map(|m| m.permissions()), fill),
    });
    result.map_err(|e| Failure::from_error(&e).while_doing(format!("cannot write {}", path.display())))
}

/// Where the links lead that `path` is the first of, if it is one.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..=MOST_LINKS {
        match std::fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or(Path::new("")).join(link),
            // No link: a file, or nothing yet.
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other(format!("there are more than {MOST_LINKS} links from one to the next: do they form a ring?")))
}

fn fill_through(sink: impl Write, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(sink);
    fill(&mut writer)?;
    writer.flush()
}

/// `old` is what a file in this place allows to whom; the new one allows the same.
fn write_beside(path: &Path, old: Option<std::fs::Permissions>, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = create(folder, ".snnc-", "", old.clone())?;
    if let Some(old) = old {
        // The mask of new files has no say here.
        file.file.as_file().set_permissions(old)?;
    }
    fill_and_move(file, path, fill)
}

/// A temporary file that signals remove, too.
pub struct Temporary {
    file: NamedTempFile,
}

impl Temporary {
    /// Standard input as a file, for what can only be read by its name.
    pub fn standard_input(suffix: &str) -> io::Result<Temporary> {
        let mut file = create(&std::env::temp_dir(), "snnc-stdin-", suffix, None)?;
        files::copy_bounded(files::standard_input()?, &mut file.file)?;
        Ok(file)
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let path = self.file.path();
        temporary().retain(|p| p != path);
    }
}

/// Permissions default to those of any new file.
fn create(folder: &Path, prefix: &str, suffix: &str, permissions: Option<std::fs::Permissions>) -> io::Result<Temporary> {
    let mut builder = Builder::new();
    builder.prefix(prefix).suffix(suffix);
    #[cfg(unix)]
    builder.permissions(permissions.unwrap_or(std::os::unix::fs::PermissionsExt::from_mode(0o666)));
    // The lock is held over both steps: the signal handler never misses a file.
    let mut paths = temporary();
    let file = builder.tempfile_in(folder)?;
    paths.push(file.path().to_path_buf());
    Ok(Temporary { file })
}

fn fill_and_move(mut file: Temporary, path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    fill_through(&mut file.file, fill)?;
    file.file.as_file().sync_all()?;
    std::fs::rename(file.path(), path)
}

/// `text` as it may be printed: names in models and files are anybody's, and a terminal obeys some
/// characters. Control characters and those that turn the direction of writing become `\u001b` and the
/// like, which is JSON's way, too. Ends of lines and tabulators stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && !matches!(c, '\n' | '\t'))
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for (place, c) in text.char_indices() {
        match c {
            '\r' if text[place + 1..].starts_with('\n') => safe.push(c),
            c if obeyed(c) => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn line(text: &str) -> Cow<'_, str> {
    let text = printable(text);
    if text.ends_with('\n') { text } else { text + "\n" }
}

/// Prints on standard output; a reader that has closed it is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(line(text).as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::from_error(&e).while_doing("cannot write to standard output")),
        _ => Ok(()),
    }
}

/// Prints a report on standard output, or on standard error where `output` has taken that.
pub fn report(output: Option<&Path>, text: &str) -> Result<(), Failure> {
    if output.is_some_and(files::is_standard) {
        tell(text);
        return Ok(());
    }
    print(text)
}

/// Prints on standard error, if that is possible.
pub fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(line(text).as_bytes());
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out notes and progress from here on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether notes and progress are left out.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Tells the user something that may matter, unless they want quiet.
pub fn note(text: impl std::fmt::Display) {
    if !is_quiet() {
        tell(&format!("note: {text}"));
    }
}

/// Tells the user something that is likely to be wrong.
pub fn warning(text: impl std::fmt::Display) {
    tell(&format!("warning: {text}"));
}

/// A report for programs.
pub fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|e| Failure::from_error(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_printed_as_what_it_is() {
        assert_eq!(printable("conv1/Wei\u{df} \u{2192} \u{3b8}\n\tx\r\n"), "conv1/Wei\u{df} \u{2192} \u{3b8}\n\tx\r\n");
        let title = "a\u{1b}]0;owned\u{7}b\u{9b}31m\r\u{202e}c\u{7f}";
        assert_eq!(printable(title), "a\\u001b]0;owned\\u0007b\\u009b31m\\u000d\\u202ec\\u007f");
        let json = serde_json::to_string(title).unwrap();
        assert_eq!(serde_json::from_str::<String>(&printable(&json)).unwrap(), title);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_keeps_its_mode_and_links_lead_to_their_target_even_before_it_exists() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |name: &str, text: &str| write(&at(name), |sink| sink.write_all(text.as_bytes()));
        put("old", "1").unwrap();
        for mode in [0o600, 0o640, 0o666] {
            std::fs::set_permissions(at("old"), PermissionsExt::from_mode(mode)).unwrap();
            put("old", "2").unwrap();
            let is = std::fs::metadata(at("old")).unwrap().permissions().mode() & 0o777;
            assert_eq!((is, std::fs::read(at("old")).unwrap()), (mode, b"2".to_vec()), "{mode:o}");
        }
        std::fs::create_dir(at("sub")).unwrap();
        symlink("sub/new", at("second")).unwrap();
        symlink("second", at("first")).unwrap();
        put("first", "3").unwrap();
        assert_eq!(std::fs::read(at("sub/new")).unwrap(), b"3");
        assert!(at("first").is_symlink() && at("second").is_symlink() && !at("sub/new").is_symlink());
        symlink("ring2", at("ring")).unwrap();
        symlink("ring", at("ring2")).unwrap();
        assert!(put("ring", "4").is_err() && at("ring").is_symlink());
    }
}
