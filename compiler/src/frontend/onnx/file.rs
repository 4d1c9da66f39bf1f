//! Files that a user or a model names: regular ones only. A pipe would make the compiler wait for ever, a device read
//! until memory ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file, and says how long it is. What else the path may lead to is not even opened.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::InvalidInput`] when it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    let regular = |m: std::fs::Metadata| match m.is_file() {
        true => Ok(m.len()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    };
    regular(std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    let length = regular(file.metadata()?)?;
    Ok((file, length))
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open_regular`]; [`io::ErrorKind::OutOfMemory`] when there is no room for them.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, length) = open_regular(path)?;
    let mut bytes = Vec::new();
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
