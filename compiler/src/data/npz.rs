//! npz archives with members `x` and `y`, and single npy arrays.

use super::npy::{NpyArray, NpyType};
use super::{ChannelOrder, DataError, Opened, Samples};
use snn_ir::signal::Dims;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Opens an archive with samples `x` and, if there are labels, `y`; an archive of a single array is `x` whatever its
/// name.
pub(super) fn open(path: &Path) -> Result<Opened, DataError> {
    let mut file = BufReader::new(File::open(path).map_err(|e| DataError::read(path, e))?);
    let broken = |reason: String| DataError::format(path, format!("this is not a readable npz archive: {reason}"), "is the file complete?");
    check_directory(&mut file).map_err(broken)?;
    let mut archive = npyz::npz::NpzArchive::new(file).map_err(|e| broken(e.to_string()))?;
    let mut names: Vec<String> = archive.array_names().map(str::to_string).collect();
    names.sort();
    let mut read = |name: &str| -> Result<NpyArray, DataError> {
        let member = archive.zip_archive().by_name(&format!("{name}.npy")).map_err(|e| broken(e.to_string()))?;
        let size = member.size();
        NpyArray::read(member, size).map_err(|reason| DataError::format(path, format!("array `{name}`: {reason}"), ""))
    };
    let has = |name: &str| names.iter().any(|n| n == name);
    let (x, y) = match &names[..] {
        [only] if only != "y" => (read(only)?, None),
        _ if has("x") && has("y") => (read("x")?, Some(read("y")?)),
        _ if has("x") => (read("x")?, None),
        [] => return Err(DataError::format(path, "there are no arrays in it", "samples are member `x`, labels member `y`")),
        names => {
            let reason = format!("there is no member `x`; the members are {}", names.join(", "));
            return Err(DataError::format(path, reason, "save it as np.savez(file, x=samples, y=labels)"));
        }
    };
    let labels = y.map(|y| labels(path, &y)).transpose()?;
    Ok((samples(path, x)?, labels))
}

/// Opens a single array, samples without labels.
pub(super) fn open_npy(path: &Path) -> Result<Opened, DataError> {
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    let size = file.metadata().map_err(|e| DataError::read(path, e))?.len();
    let array = NpyArray::read(BufReader::new(file), size).map_err(|reason| DataError::format(path, reason, ""))?;
    Ok((samples(path, array)?, None))
}

fn samples(path: &Path, x: NpyArray) -> Result<Samples, DataError> {
    let shape = match &x.shape[..] {
        [_, sample @ ..] if !x.bytes.is_empty() => sample.to_vec(),
        other => {
            let reason = format!("samples have the shape [{}]", Dims(other));
            return Err(DataError::format(path, reason, "the first dimension counts samples; there must be one at least"));
        }
    };
    if let Some(data) = x.to_f32() {
        return Ok(Samples::Values { data, shape });
    }
    if x.element != NpyType::U8 {
        let reason = format!("samples are {}", x.element.name());
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
    Ok(Samples::Pixels { data: x.bytes, height, width, channels, order })
}

fn labels(path: &Path, y: &NpyArray) -> Result<Vec<u32>, DataError> {
    let one_each = y.shape.len() == 1 || (y.shape.len() == 2 && y.shape[1] == 1);
    one_each.then(|| y.to_labels()).flatten().ok_or_else(|| {
        let reason = format!("labels are {} of shape [{}]", y.element.name(), Dims(&y.shape));
        DataError::format(path, reason, "labels are one class index (a whole number from 0) per sample")
    })
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
