//! MNIST's idx format: <https://yann.lecun.com/exdb/mnist/>, "file formats".

use super::store::{Part, Store};
use super::{ChannelOrder, DataError, Labels, Opened, Samples};
use snn_ir::tensor::element_count;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

/// Opens an images file (unsigned bytes, three dimensions); labels come from the file of the matching name beside it.
pub(super) fn open(path: &Path) -> Result<Opened, DataError> {
    let (dims, file) = open_array(path, 3)?;
    let size = dims[1] * dims[2];
    let part = Part { file: Mutex::new(file), first: header_length(3), stride: size as u64, count: dims[0] };
    let store = if size == 0 { Store::Memory { bytes: Vec::new(), size: 1 } } else { Store::Files { parts: vec![part], size } };
    let samples = Samples::Pixels { store, height: dims[1], width: dims[2], channels: 1, order: ChannelOrder::Last };
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let labels_path = path.with_file_name(name.replace("images", "labels").replace("idx3", "idx1"));
    if labels_path == path || !labels_path.exists() {
        return Ok((samples, None));
    }
    let (_, mut file) = open_array(&labels_path, 1)?;
    let mut labels = Vec::new();
    file.read_to_end(&mut labels).map_err(|e| DataError::read(&labels_path, e))?;
    Ok((samples, Some(Labels::Classes(labels.iter().map(|&b| u32::from(b)).collect()))))
}

fn header_length(rank: usize) -> u64 {
    4 + 4 * rank as u64
}

/// The dimensions of an array of unsigned bytes, and the file behind its header, which holds as much as they say.
fn open_array(path: &Path, rank: usize) -> Result<(Vec<usize>, File), DataError> {
    let mut file = File::open(path).map_err(|e| DataError::read(path, e))?;
    let held = file.metadata().map_err(|e| DataError::read(path, e))?.len();
    let refuse = |reason: String| DataError::format(path, reason, "is the file complete?");
    let mut header = vec![0; header_length(rank) as usize];
    if file.read_exact(&mut header).is_err() || header[..4] != [0, 0, 8, rank as u8] {
        return Err(refuse(format!("this is not an idx file of unsigned bytes with {rank} dimensions")));
    }
    let dims: Vec<usize> = header[4..].as_chunks::<4>().0.iter().map(|&b| u32::from_be_bytes(b) as usize).collect();
    let bytes = held.saturating_sub(header_length(rank));
    if element_count(&dims).map(|n| n as u64) != Some(bytes) {
        return Err(refuse(format!("its header says {dims:?} but it holds {bytes} bytes")));
    }
    Ok((dims, file))
}
