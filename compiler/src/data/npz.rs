//! npz archives with members `x` and `y`, and single npy arrays.

use super::inflate::{Deflated, Member};
use super::npy::{NpyArray, NpyHeader, NpyType};
use super::store::{Part, Store};
use super::{ChannelOrder, DataError, Labels, Opened, Samples};
use npyz::zip::CompressionMethod;
use snn_ir::signal::Dims;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

/// Arrays of archives up to this size are decoded when they are opened, so that damage shows at once.
const IN_MEMORY: u64 = 8 << 20;

/// What deflate makes of a byte at most.
const MOST_EXPANSION: u64 = 1032;

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
pub(super) fn open(path: &Path, members: &Members<'_>) -> Result<Opened, DataError> {
    let mut file = BufReader::new(File::open(path).map_err(|e| DataError::read(path, e))?);
    let broken = |reason: String| DataError::format(path, format!("this is not a readable npz archive: {reason}"), "is the file complete?");
    check_directory(&mut file).map_err(broken)?;
    let mut archive = npyz::npz::NpzArchive::new(file).map_err(|e| broken(e.to_string()))?;
    let mut names: Vec<String> = archive.array_names().map(str::to_string).collect();
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
    let y = y.map(|name| {
        let member = archive.zip_archive().by_name(&format!("{name}.npy")).map_err(|e| broken(e.to_string()))?;
        let size = member.size();
        NpyArray::read(member, size).map_err(|reason| bad_array(name, reason))
    });
    let labels = y.transpose()?.map(|y| labels(path, &y)).transpose()?;
    let zip = archive.zip_archive();
    let member = zip.by_name(&format!("{x}.npy")).map_err(|e| broken(e.to_string()))?;
    if member.size() <= IN_MEMORY {
        let size = member.size();
        let array = NpyArray::read(member, size).map_err(|reason| bad_array(x, reason))?;
        return Ok((from_memory(path, array)?, labels));
    }
    let compressed = member.compression() == CompressionMethod::Deflated;
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    let held = file.metadata().map_err(|e| DataError::read(path, e))?.len().saturating_sub(member.data_start());
    let member =
        Member { first: member.data_start(), compressed: member.compressed_size(), crc: member.crc32(), size: member.size(), file };
    let most = if compressed { member.compressed.saturating_mul(MOST_EXPANSION) } else { member.compressed };
    if member.compressed > held || member.size > most {
        return Err(broken(format!("its directory promises {} bytes for array `{x}`, which cannot be", member.size)));
    }
    let samples = if compressed { from_stream(path, member) } else { from_file(path, member.file, member.first, member.size) };
    Ok((samples?, labels))
}

/// Opens a single array, samples without labels.
pub(super) fn open_npy(path: &Path) -> Result<Opened, DataError> {
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    let size = file.metadata().map_err(|e| DataError::read(path, e))?.len();
    Ok((from_file(path, file, 0, size)?, None))
}

/// Samples of an array in memory.
fn from_memory(path: &Path, array: NpyArray) -> Result<Samples, DataError> {
    let (element, bytes) = (array.element, array.bytes.len());
    let header = NpyHeader { element, shape: array.shape, length: 0, bytes };
    samples(path, &header, |size, _| Store::Memory { bytes: array.bytes, size })
}

/// Samples of an array that takes `available` bytes of `file` from `first` on.
fn from_file(path: &Path, mut file: File, first: u64, available: u64) -> Result<Samples, DataError> {
    file.seek(SeekFrom::Start(first)).map_err(|e| DataError::read(path, e))?;
    let header = NpyHeader::read(BufReader::new(&file), available).map_err(|reason| DataError::format(path, reason, ""))?;
    samples(path, &header, |size, count| {
        let part = Part { file: Mutex::new(file), first: first + header.length, stride: size as u64, count };
        Store::Files { parts: vec![part], size }
    })
}

/// Samples of a compressed array.
fn from_stream(path: &Path, member: Member) -> Result<Samples, DataError> {
    let decoder = member.decoder().map_err(|e| DataError::read(path, e))?;
    let header = NpyHeader::read(decoder, member.size).map_err(|reason| DataError::format(path, reason, ""))?;
    samples(path, &header, |size, count| Store::Deflated(Box::new(Deflated::new(member, header.length, size, count))))
}

/// Samples of the array that `header` announces, in the store that `store` makes for samples of a size and their number.
fn samples(path: &Path, header: &NpyHeader, store: impl FnOnce(usize, usize) -> Store) -> Result<Samples, DataError> {
    let (count, shape) = match &header.shape[..] {
        [count, sample @ ..] if header.bytes > 0 => (*count, sample.to_vec()),
        other => {
            let reason = format!("samples have the shape [{}]", Dims(other));
            return Err(DataError::format(path, reason, "the first dimension counts samples; there must be one at least"));
        }
    };
    let store = |shape: &[usize]| store(shape.iter().product::<usize>() * header.element.size(), count);
    if matches!(header.element, NpyType::F32 | NpyType::F64) {
        return Ok(Samples::Values { store: store(&shape), element: header.element, shape });
    }
    if header.element != NpyType::U8 {
        let reason = format!("samples are {}", header.element.name());
        return Err(DataError::format(path, reason, "use uint8 for pixels, or float32 for values in the network's own units"));
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
    Ok(Samples::Pixels { store: store(&shape), height, width, channels, order })
}

/// Class indices where there is one for each sample; numbers, whose meaning depends on the network, elsewhere.
fn labels(path: &Path, y: &NpyArray) -> Result<Labels, DataError> {
    let [_, shape @ ..] = &y.shape[..] else {
        let reason = format!("labels are a single {}", y.element.name());
        return Err(DataError::format(path, reason, "the first dimension of labels counts samples"));
    };
    let one_each = shape.iter().all(|&d| d == 1);
    if let Some(classes) = one_each.then(|| y.to_labels()).flatten() {
        return Ok(Labels::Classes(classes));
    }
    Ok(Labels::Values { shape: shape.to_vec(), data: y.to_values() })
}

/// Writes float32 arrays (name, shape, elements) as an archive. The bytes depend on nothing else, no date either.
///
/// # Errors
/// What the sink says.
///
/// # Panics
/// When an array does not have as many elements as its shape says.
pub fn write(sink: &mut dyn Write, arrays: &[(&str, Vec<usize>, &[f32])]) -> io::Result<()> {
    let options = npyz::zip::write::FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(npyz::zip::DateTime::default())
        .large_file(true);
    let mut archive = npyz::zip::ZipWriter::new(Cursor::new(Vec::new()));
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
