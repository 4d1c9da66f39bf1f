//! Output files: written beside their place and moved there when complete, so that a full disk or Ctrl-C leaves either the
//! old file or the new one.

use super::Failure;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{Builder, NamedTempFile};

/// Temporary files that exist now.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn temporary() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C remove temporary files and exit with 130, as shells expect.
pub fn clean_up_on_interrupt() {
    // Without a handler the program dies at Ctrl-C as any other: worse, but no reason to refuse work.
    let _ = ctrlc::set_handler(|| {
        let paths = temporary();
        paths.iter().for_each(|p| drop(std::fs::remove_file(p)));
        exit(130);
    });
}

/// Writes a file by `fill`, all or nothing. Links are followed; what is no file (a device, a pipe) is written to as it is.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let target = path.canonicalize().unwrap_or_else(|_| path.into());
    match std::fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => write_through(&target, fill),
        _ => write_beside(&target, fill),
    }
    .map_err(|e| Failure::from_error(&e).while_doing(format!("cannot write {}", path.display())))
}

fn write_through(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(std::fs::OpenOptions::new().write(true).open(path)?);
    fill(&mut writer)?;
    writer.flush()
}

fn write_beside(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = create(folder)?;
    let temp = file.path().to_path_buf();
    let result = fill_and_move(file, path, fill);
    temporary().retain(|p| *p != temp);
    result
}

fn create(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".snnc-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The lock is held over both steps: the interrupt handler never misses a file.
    let mut paths = temporary();
    let file = builder.tempfile_in(folder)?;
    paths.push(file.path().to_path_buf());
    Ok(file)
}

fn fill_and_move(file: NamedTempFile, path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    fill(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Prints on standard output; a reader that has closed it is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") }) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::from_error(&e).while_doing("cannot write to standard output")),
        _ => Ok(()),
    }
}

/// A report for programs.
pub fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|e| Failure::from_error(&e))
}
