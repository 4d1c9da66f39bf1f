//! MNIST's idx format: <https://yann.lecun.com/exdb/mnist/>, "file formats".

use super::{ChannelOrder, DataError, Opened, Samples, read_file};
use snn_ir::tensor::element_count;
use std::path::Path;

/// Opens an images file (unsigned bytes, three dimensions); labels come from the file of the matching name beside it.
pub(super) fn open(path: &Path) -> Result<Opened, DataError> {
    let bytes = read_file(path)?;
    let (dims, data) = parse(&bytes, 3).map_err(|reason| DataError::format(path, reason, "is the file complete?"))?;
    let samples = Samples::Pixels { data: data.to_vec(), height: dims[1], width: dims[2], channels: 1, order: ChannelOrder::Last };
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let labels_path = path.with_file_name(name.replace("images", "labels").replace("idx3", "idx1"));
    if labels_path == path || !labels_path.exists() {
        return Ok((samples, None));
    }
    let bytes = read_file(&labels_path)?;
    let (_, labels) = parse(&bytes, 1).map_err(|reason| DataError::format(&labels_path, reason, "is the file complete?"))?;
    Ok((samples, Some(labels.iter().map(|&b| u32::from(b)).collect())))
}

fn parse(bytes: &[u8], rank: usize) -> Result<(Vec<usize>, &[u8]), String> {
    let header = 4 + 4 * rank;
    if bytes.len() < header || bytes[..4] != [0, 0, 8, rank as u8] {
        return Err(format!("this is not an idx file of unsigned bytes with {rank} dimensions"));
    }
    let dims: Vec<usize> = bytes[4..header].as_chunks::<4>().0.iter().map(|&b| u32::from_be_bytes(b) as usize).collect();
    let data = &bytes[header..];
    if element_count(&dims) != Some(data.len()) {
        return Err(format!("its header says {dims:?} but it holds {} bytes", data.len()));
    }
    Ok((dims, data))
}
