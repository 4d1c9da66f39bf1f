//! CIFAR-10 and CIFAR-100, binary version: <https://www.cs.toronto.edu/~kriz/cifar.html>. A record is one label byte (two
//! for CIFAR-100, coarse and fine; the fine one counts) and 3x32x32 pixels.

use super::preprocess::Size;
use super::store::{Part, Store};
use super::{ChannelOrder, Contents, DataError, Labels, Opened, Source};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const PIXELS: usize = 3 * 32 * 32;

/// Opens the batches in a folder, which must all be of the training set or all of the test set.
pub(super) fn open_folder(folder: &Path, files: &[PathBuf]) -> Result<Opened, DataError> {
    let is_test = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().contains("test"));
    if files.iter().any(is_test) && !files.iter().all(is_test) {
        let reason = "there are training and test batches in it";
        return Err(DataError::format(folder, reason, "name one of the files, test_batch.bin or data_batch_1.bin for example"));
    }
    open(files.iter().map(|file| Source::open(file)).collect::<Result<_, _>>()?)
}

/// Opens record files, one after the other.
pub(super) fn open(files: Vec<Source>) -> Result<Opened, DataError> {
    let (mut parts, mut labels) = (Vec::new(), Vec::new());
    for Source { path, file, length, .. } in files {
        let path = &path;
        let (label_bytes, classes) = match length as usize {
            n if n > 0 && n.is_multiple_of(PIXELS + 1) => (1, 10),
            n if n > 0 && n.is_multiple_of(PIXELS + 2) => (2, 100),
            n => {
                let reason = format!("{n} bytes are no whole number of CIFAR records of {} or {} bytes", PIXELS + 1, PIXELS + 2);
                return Err(DataError::format(path, reason, "is this the binary version, and complete?"));
            }
        };
        let mut record = vec![0; label_bytes + PIXELS];
        let count = length as usize / record.len();
        let mut reader = BufReader::new(&file);
        for _ in 0..count {
            reader.read_exact(&mut record).map_err(|e| DataError::read(path, e))?;
            let label = u32::from(record[label_bytes - 1]);
            if label >= classes {
                let reason = format!("a record has label {label}, but there are {classes} classes");
                return Err(DataError::format(path, reason, "is this a file of the binary version?"));
            }
            labels.push(label);
        }
        parts.push(Part { file: Mutex::new(file), first: label_bytes as u64, stride: record.len() as u64, count });
    }
    let store = Store::Files { parts, size: PIXELS };
    let size = Size { height: 32, width: 32, channels: 3 };
    Ok((Contents::Pixels { store, size, order: ChannelOrder::First }, Some(Labels::Classes(labels))))
}
