//! npz archives with members `x` and `y`, and single npy arrays.

use super::inflate::{Deflated, Member};
use super::npy::{NpyHeader, NpyType};
use super::preprocess::Size;
use super::store::{Part, Store};
use super::{ChannelOrder, Contents, DataError, Labels, Opened, Source};
use crate::files::MAX_COPIED;
use snn_ir::signal::Dims;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

/// Arrays of archives up to this size are decoded when they are opened, so that damage shows at once.
const IN_MEMORY: u64 = 8 << 20;

/// Largest array of labels that is read, which is kept in memory, as numbers of four bytes: whole maps for many samples.
const MAX_LABELS: u64 = 256 << 20;

/// What deflate makes of a byte at most.
const MOST_EXPANSION: u64 = 1032;

const COMPLETE: &str = "is the file complete?";

/// Which arrays of an archive are wanted.
pub(super) enum Members<'a> {
    /// Samples `x`, or else the array of this name, which is that of the network's only input. An archive of a single
    /// array is `x` whatever its name.
    Samples(Option<&'a str>),
    /// The samples of input `name`, one of several.
    Input {
        /// The input.
        name: &'a str,
        /// All inputs.
        all: &'a [&'a str],
    },
}

/// Opens an archive with samples and, if there are labels, `y` (`labels` where an input is called `y`).
pub(super) fn open(source: Source, members: &Members<'_>) -> Result<Opened, DataError> {
    let path = &source.path;
    let broken = |reason: String| DataError::format(path, format!("this is not a readable npz archive: {reason}"), COMPLETE);
    let mut file = BufReader::new(&source.file);
    check_directory(&mut file).map_err(broken)?;
    let mut archive = ZipArchive::new(file).map_err(|e| broken(e.to_string()))?;
    let arrays = archive.file_names().filter_map(|name| name.ok()?.strip_suffix(".npy").map(str::to_string));
    let mut names: Vec<String> = arrays.collect();
    names.sort();
    let has = |name: &str| names.iter().any(|n| n == name);
    let labels_name = |inputs: &[&str]| if inputs.contains(&"y") { "labels" } else { "y" };
    let labels_of = |inputs: &[&str]| Some(labels_name(inputs)).filter(|l| has(l));
    let (x, y) = match (&names[..], members) {
        ([], _) => return Err(DataError::format(path, "there are no arrays in it", "samples are member `x`, labels member `y`")),
        (_, &Members::Input { name, all }) if has(name) => (name, labels_of(all)),
        (names, Members::Input { name, all }) => {
            let reason = format!("there is no member `{name}`, an input of the network; the members are {}", names.join(", "));
            let inputs: Vec<String> = all.iter().map(|i| format!("{i:?}: samples")).collect();
            let help =
                format!("save it as np.savez(file, **{{{}, {:?}: labels}}); labels may be left out", inputs.join(", "), labels_name(all));
            return Err(DataError::format(path, reason, help));
        }
        ([only], _) if only != "y" => (only.as_str(), None),
        _ if has("x") => ("x", labels_of(&[])),
        (_, &Members::Samples(Some(input))) if has(input) => (input, labels_of(&[input])),
        (names, _) => {
            let reason = format!("there is no member `x`; the members are {}", names.join(", "));
            return Err(DataError::format(path, reason, "save it as np.savez(file, x=samples, y=labels)"));
        }
    };
    let bad_array = |name: &str, reason: String| DataError::format(path, format!("array `{name}`: {reason}"), "");
    let mut array = |name: &str| -> Result<(Member, NpyHeader, bool), DataError> {
        let (member, deflated) = member(&source, &mut archive, name).map_err(broken)?;
        let header = member.reader(deflated).map_err(|e| DataError::read(path, e))?;
        let header = NpyHeader::read(header, member.size).map_err(|reason| bad_array(name, reason))?;
        Ok((member, header, deflated))
    };
    let (member, header, deflated) = array(x)?;
    let labels = match y {
        None => None,
        Some(name) => {
            let (member, labels, deflated) = array(name)?;
            let count = header.shape.first().copied().unwrap_or(0);
            let Some((_, each)) = labels.shape.split_first().filter(|&(&n, _)| n == count) else {
                let reason = format!("there are {count} samples, but the labels have the shape [{}]", Dims(&labels.shape));
                return Err(DataError::format(path, reason, "samples and labels must be equally many"));
            };
            Some(if member.size > MAX_LABELS {
                Labels::Unread(format!(
                    "they are {} of shape [{}], more than {MAX_LABELS} bytes",
                    labels.element.name(),
                    Dims(&labels.shape)
                ))
            } else {
                let elements = member.elements(&labels, deflated).map_err(|reason| bad_array(name, reason))?;
                Labels::from_elements(labels.element, each, &elements)
            })
        }
    };
    let samples = if member.size <= IN_MEMORY || header.column_major {
        if member.size > MAX_COPIED {
            return Err(DataError::format(path, format!("array `{x}` {TOO_LONG_IN_FORTRAN_ORDER}"), ASCONTIGUOUS));
        }
        let bytes = member.elements(&header, deflated).map_err(|reason| bad_array(x, reason))?;
        samples(path, &header, |size, _| Store::Memory { bytes, size })?
    } else if deflated {
        samples(path, &header, |size, count| Store::Deflated(Box::new(Deflated::new(member, header.length, size, count))))?
    } else {
        let first = member.first + header.length;
        samples(path, &header, |size, count| part(member.file, first, size, count))?
    };
    Ok((samples, labels))
}

/// Where array `name` is, and whether it is compressed.
fn member(source: &Source, archive: &mut ZipArchive<BufReader<&File>>, name: &str) -> Result<(Member, bool), String> {
    let member = archive.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
    let deflated = match member.compression() {
        _ if member.encrypted() => return Err(format!("array `{name}` is encrypted")),
        CompressionMethod::Stored => false,
        CompressionMethod::Deflated => true,
        other => return Err(format!("array `{name}` is compressed by {other}, which is not read")),
    };
    let first = member.data_start().ok_or("it has no data")?;
    let (compressed, size, crc) = (member.compressed_size(), member.size(), member.crc32());
    let most = if deflated { compressed.saturating_mul(MOST_EXPANSION) } else { compressed };
    if compressed > source.length.saturating_sub(first) || size > most {
        return Err(format!("its directory promises {size} bytes for array `{name}`, which cannot be"));
    }
    let file = source.file.try_clone().map_err(|e| e.to_string())?;
    Ok((Member { file, first, compressed, crc, size }, deflated))
}

/// Opens a single array, samples without labels.
pub(super) fn open_npy(source: Source) -> Result<Opened, DataError> {
    let path = source.path;
    let mut file = BufReader::new(source.file);
    let bad = |reason: String| DataError::format(&path, reason, "");
    let header = NpyHeader::read(&mut file, source.length).map_err(bad)?;
    if header.column_major {
        if source.length > MAX_COPIED {
            return Err(DataError::format(&path, format!("it {TOO_LONG_IN_FORTRAN_ORDER}"), ASCONTIGUOUS));
        }
        let bytes = header.elements(file).map_err(bad)?;
        return Ok((samples(&path, &header, |size, _| Store::Memory { bytes, size })?, None));
    }
    let file = file.into_inner();
    Ok((samples(&path, &header, |size, count| part(file, header.length, size, count))?, None))
}

const TOO_LONG_IN_FORTRAN_ORDER: &str = "is in Fortran order and too long to be brought into another";
const ASCONTIGUOUS: &str = "save it with np.ascontiguousarray";

fn part(file: File, first: u64, size: usize, count: usize) -> Store {
    Store::Files { parts: vec![Part { file: Mutex::new(file), first, stride: size as u64, count }], size }
}

/// Samples of the array that `header` announces, in the store that `store` makes for samples of a size and their number.
fn samples(path: &Path, header: &NpyHeader, store: impl FnOnce(usize, usize) -> Store) -> Result<Contents, DataError> {
    let (count, shape) = match &header.shape[..] {
        [count, sample @ ..] if header.bytes > 0 => (*count, sample.to_vec()),
        other => {
            let reason = format!("samples have the shape [{}]", Dims(other));
            return Err(DataError::format(path, reason, "the first dimension counts samples; there must be one at least"));
        }
    };
    let store = store(shape.iter().product::<usize>() * header.element.size(), count);
    if header.element != NpyType::U8 {
        return Ok(Contents::Values { store, element: header.element, shape });
    }
    let (height, width, channels, order) = match shape[..] {
        [] => (1, 1, 1, ChannelOrder::Last),
        [n] => (1, n, 1, ChannelOrder::Last),
        [h, w] => (h, w, 1, ChannelOrder::Last),
        // numpy images are HWC; planar ones are told by a small first extent where HWC has a large last one.
        [c, h, w] if c <= 4 && w > 4 => (h, w, c, ChannelOrder::First),
        [h, w, c] => (h, w, c, ChannelOrder::Last),
        _ => {
            let reason = format!("uint8 samples of {} are no images", Dims(&shape));
            return Err(DataError::format(path, reason, "uint8 samples are [N,H,W], [N,H,W,C] or [N,C,H,W]"));
        }
    };
    Ok(Contents::Pixels { store, size: Size { height, width, channels }, order })
}

/// Writes float32 arrays (name, shape, elements) as an archive. The bytes depend on nothing else, no date either.
///
/// # Errors
/// What the sink says.
///
/// # Panics
/// When an array does not have as many elements as its shape says.
pub fn write(sink: &mut dyn Write, arrays: &[(&str, Vec<usize>, &[f32])]) -> io::Result<()> {
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).last_modified_time(DateTime::default()).large_file(true);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, shape, data) in arrays {
        archive.start_file(format!("{name}.npy"), options)?;
        super::npy::write_f32(&mut archive, shape, data)?;
    }
    sink.write_all(archive.finish()?.get_ref())
}

/// Refuses an archive whose 64-bit directory claims more members than any data set has: the archive reader reserves memory
/// for that number before it looks. (Ordinary directories cannot claim more than 65,535.)
fn check_directory(file: &mut (impl Read + Seek)) -> Result<(), String> {
    const END: usize = 22;
    const LOCATOR: usize = 20;
    let mut inspect = || -> std::io::Result<Result<(), String>> {
        let length = file.seek(SeekFrom::End(0))?;
        let tail_length = length.min((END + LOCATOR + 0xffff) as u64);
        file.seek(SeekFrom::Start(length - tail_length))?;
        let mut tail = Vec::new();
        file.take(tail_length).read_to_end(&mut tail)?;
        let Some(end) = (0..tail.len().saturating_sub(END - 1)).rev().find(|&i| tail[i..].starts_with(b"PK\x05\x06")) else {
            return Ok(Err("it has no directory".into()));
        };
        let comment = usize::from(u16::from_le_bytes([tail[end + 20], tail[end + 21]]));
        let places = [end.checked_sub(LOCATOR), tail.len().checked_sub(END + LOCATOR + comment)];
        for place in places.into_iter().flatten() {
            let locator = &tail[place..place + LOCATOR];
            if !locator.starts_with(b"PK\x06\x07") {
                continue;
            }
            let at = u64::from_le_bytes(locator[8..16].try_into().expect("eight bytes"));
            file.seek(SeekFrom::Start(at.min(length)))?;
            let mut record = [0u8; 56];
            let whole = file.read_exact(&mut record).is_ok() && record.starts_with(b"PK\x06\x06");
            let members = [24, 32].map(|i| u64::from_le_bytes(record[i..i + 8].try_into().expect("eight bytes")));
            if !whole || members.iter().any(|&m| m > 0xffff) {
                return Ok(Err("its 64-bit directory is implausible".into()));
            }
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(Ok(()))
    };
    inspect().map_err(|e| e.to_string())?
}
