//! Files that users name. Only regular files are read, and `-`, which is standard input: a pipe would
//! make a command wait for ever and a device would never end.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most bytes that are read from standard input, or that a gzip file may hold. They go to a file in the
/// folder for temporary files, which on some systems is memory.
pub const MAX_COPIED: u64 = 1 << 30;

/// Largest model or graph that is read into memory: protobuf, the format of ONNX, ends at 2 GiB.
pub const MAX_MODEL: u64 = 1 << 31;

/// Whether `path` is standard input or output.
pub fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// `path` for a message about what is read.
pub fn name(path: &Path) -> String {
    if is_standard(path) { "standard input".into() } else { path.display().to_string() }
}

/// Opens a regular file to read it.
///
/// # Errors
/// What the operating system says; that it is no regular file, which is found out without waiting.
pub fn open(path: &Path) -> io::Result<File> {
    let refuse = |metadata: std::fs::Metadata| match metadata {
        m if m.is_file() => Ok(()),
        m if m.is_dir() => Err(io::Error::other("it is a folder")),
        _ => Err(io::Error::other("it is a pipe or a device, no file; standard input is written as -")),
    };
    refuse(std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    refuse(file.metadata()?)?;
    Ok(file)
}

/// Standard input, which only one argument of a command can be.
///
/// # Errors
/// When it has been given away before.
pub fn standard_input() -> io::Result<io::StdinLock<'static>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    match TAKEN.swap(true, Ordering::Relaxed) {
        true => Err(io::Error::other("only one argument can be -, standard input")),
        false => Ok(io::stdin().lock()),
    }
}

/// The bytes of a regular file or of standard input, `most` of them at most.
///
/// # Errors
/// As [`open`]; when there are more bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: &mut dyn Read = if is_standard(path) { &mut standard_input()? } else { &mut open(path)? };
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes, the most that is read")));
    }
    Ok(bytes)
}

/// [`read`] of text in UTF-8.
///
/// # Errors
/// As [`read`]; when it is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

/// Copies `source`, which may be [`MAX_COPIED`] bytes long.
///
/// # Errors
/// When it is longer, and what the operating system says.
pub fn copy_bounded(source: impl Read, sink: &mut impl Write) -> io::Result<()> {
    if io::copy(&mut source.take(MAX_COPIED + 1), sink)? > MAX_COPIED {
        let reason = format!("there are more than {MAX_COPIED} bytes in it, the most that is unpacked or taken from a pipe");
        return Err(io::Error::other(reason));
    }
    Ok(())
}

/// `source` as a file without a name, which ends with its last user.
///
/// # Errors
/// As [`copy_bounded`].
pub fn to_file(source: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    copy_bounded(source, &mut file)?;
    file.rewind()?;
    Ok(file)
}
