//! MNIST's idx format: <https://yann.lecun.com/exdb/mnist/>, "file formats".

use super::preprocess::Size;
use super::store::{Part, Store};
use super::{ChannelOrder, Contents, DataError, Labels, Opened, Source};
use snn_ir::tensor::element_count;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Opens an images file (unsigned bytes, three dimensions); labels come from the file of the matching name beside it,
/// either of them compressed by gzip or not.
pub(super) fn open(source: Source) -> Result<Opened, DataError> {
    let path = source.path.clone();
    let (dims, file) = open_array(source, 3)?;
    let size = dims[1] * dims[2];
    let part = Part { file: Mutex::new(file), first: header_length(3), stride: size as u64, count: dims[0] };
    let store = if size == 0 { Store::Memory { bytes: Vec::new(), size: 1 } } else { Store::Files { parts: vec![part], size } };
    let size = Size { height: dims[1], width: dims[2], channels: 1 };
    let samples = Contents::Pixels { store, size, order: ChannelOrder::Last };
    let Some(labels_path) = labels_of(&path) else { return Ok((samples, None)) };
    let (labels, mut file) = open_array(Source::open(&labels_path)?, 1)?;
    if labels[0] != dims[0] {
        let reason = format!("it has {} labels, but there are {} samples in {}", labels[0], dims[0], path.display());
        return Err(DataError::format(&labels_path, reason, "samples and labels must be equally many"));
    }
    let mut bytes = vec![0; labels[0]];
    file.read_exact(&mut bytes).map_err(|e| DataError::read(&labels_path, e))?;
    Ok((samples, Some(Labels::Classes(bytes.iter().map(|&b| u32::from(b)).collect()))))
}

/// The labels file beside an images file, if there is one.
fn labels_of(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.replace("images", "labels").replace("idx3", "idx1");
    if labels == plain {
        return None;
    }
    let names = [images.with_file_name(&labels), images.with_file_name(labels + ".gz")];
    names.into_iter().find(|path| path.exists())
}

fn header_length(rank: usize) -> u64 {
    4 + 4 * rank as u64
}

/// The dimensions of an array of unsigned bytes, and the file after its header, which holds as much as they say.
fn open_array(source: Source, rank: usize) -> Result<(Vec<usize>, File), DataError> {
    let Source { path, mut file, length, .. } = source;
    let refuse = |reason: String| DataError::format(&path, reason, "is the file complete?");
    let mut header = vec![0; header_length(rank) as usize];
    if file.read_exact(&mut header).is_err() || header[..4] != [0, 0, 8, rank as u8] {
        return Err(refuse(format!("this is not an idx file of unsigned bytes with {rank} dimensions")));
    }
    let dims: Vec<usize> = header[4..].as_chunks::<4>().0.iter().map(|&b| u32::from_be_bytes(b) as usize).collect();
    let bytes = length.saturating_sub(header_length(rank));
    if element_count(&dims).map(|n| n as u64) != Some(bytes) {
        return Err(refuse(format!("its header says {dims:?} but it holds {bytes} bytes")));
    }
    Ok((dims, file))
}
