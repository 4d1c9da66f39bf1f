//! Where a command writes, looked at before work starts: what cannot be written, or would overwrite what is read, is
//! refused at once.

use super::Failure;
use snnc::files;
use std::path::Path;

/// Refuses an `output` whose name does not end in one of `endings`, that is one of `inputs`, or that cannot be written.
/// `-` is standard output; devices and pipes are taken as they are.
///
/// # Errors
/// A diagnostic that says what is wrong with it.
pub fn check(output: &Path, endings: &[&str], inputs: &[Option<&Path>]) -> Result<(), Failure> {
    if files::is_standard(output) {
        return Ok(());
    }
    let name = output.display();
    let metadata = std::fs::metadata(output).ok();
    if metadata.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        let failure = Failure::new(format!("cannot write {name}: it is a folder"));
        return Err(failure.help(format!("name a file in it, as in {}", output.join(format!("OUT{}", endings[0])).display())));
    }
    if metadata.as_ref().is_some_and(|m| !m.is_file()) {
        return Ok(());
    }
    let ending = output.extension().map(|e| format!(".{}", e.to_string_lossy()));
    if let Some(ending) = ending.filter(|e| !endings.iter().any(|known| known.eq_ignore_ascii_case(e))) {
        let failure = Failure::new(format!("cannot write {name}: no format is known whose files end in {ending}"));
        let renamed = output.with_extension(&endings[0][1..]);
        return Err(failure.help(format!("what is written here ends in {}: -o {}", endings.join(" or "), renamed.display())));
    }
    if let Some(input) = inputs.iter().flatten().find(|input| is_in(output, input)) {
        let failure = Failure::new(format!("writing {name} would overwrite what is read: {}", input.display()));
        return Err(failure.help("choose another name for the output"));
    }
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |why: String| Failure::new(format!("cannot write {name}: {why}"));
    match std::fs::metadata(folder) {
        Ok(m) if m.is_dir() => {}
        Ok(_) => return Err(cannot(format!("{} is no folder", folder.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(cannot(format!("there is no folder {}", folder.display())).help(format!("mkdir -p {}", folder.display())));
        }
        Err(e) => return Err(cannot(e.to_string())),
    }
    // The only sure way to know; the file is gone again at once.
    match tempfile::tempfile_in(folder) {
        Ok(_) => Ok(()),
        Err(e) => Err(cannot(format!("no file can be made in {}: {}", folder.display(), reason(&e)))),
    }
}

/// Whether `output` is the file `input`, or an existing file in the folder `input`.
fn is_in(output: &Path, input: &Path) -> bool {
    if same_file::is_same_file(output, input).unwrap_or(false) {
        return true;
    }
    let (Ok(output), Ok(input)) = (output.canonicalize(), input.canonicalize()) else { return false };
    input.is_dir() && output.starts_with(input)
}

/// What the system said, without the name of the file that was tried.
fn reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(std::error::Error::source) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}
