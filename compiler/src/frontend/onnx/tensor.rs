//! TensorProto to [`Constant`]: every size is checked against what is really there before anything is allocated.

use super::constant::{Constant, DataType, Values, is_float, is_integer};
use super::error::Refusal;
use snn_ir::tensor::element_count;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tract_onnx::pb::TensorProto;

/// Bits per element of the types that can be read.
fn bits(t: DataType) -> usize {
    match t {
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 8,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Int64 | DataType::Uint64 | DataType::Double => 64,
        _ => 32,
    }
}

/// IEEE half precision to single precision, exact.
fn half(h: u16) -> f32 {
    let sign = if h & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(h >> 10 & 31), f32::from(h & 1023));
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + mantissa) * 2f32.powi(exponent - 25),
    }
}

fn from_bits(t: DataType, raw: u64) -> f32 {
    match t {
        DataType::Float16 => half(raw as u16),
        DataType::Bfloat16 => f32::from_bits((raw as u32) << 16),
        DataType::Double => f64::from_bits(raw) as f32,
        _ => f32::from_bits(raw as u32),
    }
}

fn sign_extended(t: DataType, raw: u64) -> i64 {
    match t {
        DataType::Int8 => i64::from(raw as u8 as i8),
        DataType::Int16 => i64::from(raw as u16 as i16),
        DataType::Int32 => i64::from(raw as u32 as i32),
        DataType::Int4 => i64::from(((raw as u8) << 4) as i8 >> 4),
        DataType::Bool => i64::from(raw != 0),
        _ => raw as i64,
    }
}

/// Elements stored as little-endian bytes; their number has been checked.
fn from_bytes(t: DataType, bytes: &[u8], count: usize) -> Values {
    fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = u64> {
        bytes.chunks_exact(N).map(|c| c.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b)))
    }
    fn collect(t: DataType, words: impl Iterator<Item = u64>) -> Values {
        if is_float(t) {
            Values::Float(words.map(|w| from_bits(t, w)).collect())
        } else {
            Values::Int(words.map(|w| sign_extended(t, w)).collect())
        }
    }
    match (t, bits(t)) {
        (DataType::Float, _) => Values::Float(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()),
        (_, 4) => collect(t, bytes.iter().flat_map(|&b| [u64::from(b & 15), u64::from(b >> 4)]).take(count)),
        (_, 8) => collect(t, words::<1>(bytes)),
        (_, 16) => collect(t, words::<2>(bytes)),
        (_, 64) => collect(t, words::<8>(bytes)),
        _ => collect(t, words::<4>(bytes)),
    }
}

/// How often the bytes of a data file may be read in all: tensors may share them, but not a thousand times.
const READS: u64 = 4;

/// The model's folder, where external data must lie.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Bytes read of each file.
    read: HashMap<PathBuf, u64>,
}

impl Folder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Folder { path: path.into(), read: HashMap::new() }
    }
}

/// Reads a tensor of a model that lies in `folder`.
///
/// # Errors
/// On an element type that is not a number, a shape that the data does not fill, or external data that is missing, too
/// short or outside of the folder.
pub fn read(proto: &TensorProto, folder: &mut Folder) -> Result<Constant, Refusal> {
    let data_type = DataType::try_from(proto.data_type).unwrap_or(DataType::Undefined);
    if !is_float(data_type) && !is_integer(data_type) {
        return Err(format!("tensor `{}` has element type {}, which is not read", proto.name, data_type.as_str_name()).into());
    }
    let shape = proto.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<usize>>>();
    let Some((shape, count)) = shape.and_then(|s| element_count(&s).map(|n| (s, n))) else {
        return Err(format!("tensor `{}` has the impossible shape {:?}", proto.name, proto.dims).into());
    };
    let Some(bytes) = count.checked_mul(bits(data_type)).map(|n| n.div_ceil(8)) else {
        return Err(format!("tensor `{}` of shape {shape:?} is too large", proto.name).into());
    };
    let wrong = |got: usize, unit: &str| -> Refusal {
        format!("tensor `{}` of shape {shape:?} and type {} holds {got} {unit}", proto.name, data_type.as_str_name()).into()
    };
    let values = if proto.data_location == Some(1) {
        from_bytes(data_type, &external(proto, folder, bytes)?, count)
    } else if !proto.raw_data.is_empty() || count == 0 {
        if proto.raw_data.len() != bytes {
            return Err(wrong(proto.raw_data.len(), "bytes"));
        }
        from_bytes(data_type, &proto.raw_data, count)
    } else {
        typed(proto, data_type, count).map_err(|got| wrong(got, "elements"))?
    };
    Ok(Constant { shape, data_type, values })
}

/// Elements stored in one of the typed fields, or how many there are when that is not `count`.
fn typed(proto: &TensorProto, t: DataType, count: usize) -> Result<Values, usize> {
    let check = |stored: usize| if stored == count { Ok(()) } else { Err(stored) };
    Ok(match t {
        DataType::Float => {
            check(proto.float_data.len())?;
            Values::Float(proto.float_data.as_slice().into())
        }
        DataType::Double => {
            check(proto.double_data.len())?;
            Values::Float(proto.double_data.iter().map(|&v| v as f32).collect())
        }
        DataType::Int64 => {
            check(proto.int64_data.len())?;
            Values::Int(proto.int64_data.as_slice().into())
        }
        DataType::Uint32 | DataType::Uint64 => {
            check(proto.uint64_data.len())?;
            Values::Int(proto.uint64_data.iter().map(|&v| v as i64).collect())
        }
        DataType::Int4 | DataType::Uint4 => {
            let packed: Arc<[u8]> = proto.int32_data.iter().map(|&v| v as u8).collect();
            if packed.len() != count.div_ceil(2) {
                return Err(packed.len());
            }
            from_bytes(t, &packed, count)
        }
        _ => {
            check(proto.int32_data.len())?;
            match is_float(t) {
                true => Values::Float(proto.int32_data.iter().map(|&v| from_bits(t, v as u32 as u64)).collect()),
                false => Values::Int(proto.int32_data.iter().map(|&v| sign_extended(t, v as u32 as u64)).collect()),
            }
        }
    })
}

/// Where a tensor kept in another file says that its data is.
pub fn location(proto: &TensorProto) -> Option<&str> {
    let entry = proto.external_data.iter().find(|e| e.key == "location").map(|e| e.value.as_str());
    entry.filter(|_| proto.data_location == Some(1))
}

/// The path of the file `location` in `folder`, a regular one; `None` when there is nothing.
///
/// # Errors
/// When it lies outside of the folder, or is no regular file.
pub fn inside(folder: &Path, location: &str) -> Result<Option<PathBuf>, String> {
    let relative = Path::new(location);
    if location.is_empty() || !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`{location}` leads out of the model's folder"));
    }
    let system = |e: std::io::Error| format!("`{location}`: {e}");
    let root = folder.canonicalize().map_err(system)?;
    let path = match root.join(relative).canonicalize() {
        Ok(path) => path,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(system(e)),
    };
    if !path.starts_with(&root) {
        return Err(format!("`{location}` is a link that leads out of the model's folder"));
    }
    if !path.metadata().map_err(system)?.is_file() {
        return Err(format!("`{location}` is not a file"));
    }
    Ok(Some(path))
}

/// The bytes of a tensor kept in another file (ONNX IR "external data"): `location` relative to the model, `offset`, `length`.
fn external(proto: &TensorProto, folder: &mut Folder, bytes: usize) -> Result<Vec<u8>, Refusal> {
    let entry = |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let refuse = |reason: String| -> Refusal { format!("external data of tensor `{}`: {reason}", proto.name).into() };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(v) => v.parse::<u64>().map(Some).map_err(|_| refuse(format!("{key} `{v}` is not a size"))),
    };
    let location = entry("location").ok_or_else(|| refuse("no location".into()))?;
    let system = |e: std::io::Error| refuse(format!("`{location}`: {e}"));
    let path = inside(&folder.path, location).map_err(&refuse)?;
    let path = path.ok_or_else(|| refuse(format!("there is no file `{location}` beside the model")))?;
    let mut file = crate::files::open(&path).map_err(system)?;
    let available = file.metadata().map_err(system)?.len();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(bytes as u64);
    if length != bytes as u64 || offset.checked_add(length).is_none_or(|end| end > available) {
        return Err(refuse(format!("needs {bytes} bytes at offset {offset}; {length} are given, and `{location}` has {available}")));
    }
    let read = folder.read.entry(path).or_default();
    *read += length;
    if *read > available.saturating_mul(READS) {
        return Err(refuse(format!("`{location}` is read too often")));
    }
    let mut data = vec![0; bytes];
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut data)).map_err(system)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::StringStringEntryProto;

    fn proto(t: DataType, dims: &[i64], raw: &[u8]) -> TensorProto {
        TensorProto { data_type: t as i32, dims: dims.to_vec(), raw_data: raw.to_vec(), ..TensorProto::default() }
    }

    fn floats(p: &TensorProto) -> Vec<f32> {
        read(p, &mut Folder::new(".")).unwrap().to_floats().unwrap().to_vec()
    }

    #[test]
    fn every_number_format_is_read() {
        assert_eq!(floats(&proto(DataType::Float, &[1], &1.5f32.to_le_bytes())), [1.5]);
        assert_eq!(floats(&proto(DataType::Double, &[1], &(-2.5f64).to_le_bytes())), [-2.5]);
        let halves: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff].iter().flat_map(|h| h.to_le_bytes()).collect();
        assert_eq!(floats(&proto(DataType::Float16, &[4], &halves)), [1.0, -2.0, 5.960_464_5e-8, 65504.0]);
        assert_eq!(floats(&proto(DataType::Bfloat16, &[1], &0x3fc0u16.to_le_bytes())), [1.5]);
        assert_eq!(floats(&proto(DataType::Int8, &[2], &[255, 3])), [-1.0, 3.0]);
        assert_eq!(floats(&proto(DataType::Int4, &[3], &[0xf7, 0x08])), [7.0, -1.0, -8.0]);
        assert_eq!(floats(&proto(DataType::Int64, &[], &(-9i64).to_le_bytes())), [-9.0]);
        let typed = TensorProto { data_type: DataType::Float16 as i32, dims: vec![1], int32_data: vec![0x3c00], ..TensorProto::default() };
        assert_eq!(floats(&typed), [1.0]);
    }

    #[test]
    fn a_shape_that_the_data_does_not_fill_is_refused_without_allocating_it() {
        for dims in [&[1i64 << 40][..], &[-1], &[1 << 33, 1 << 33], &[3]] {
            assert!(read(&proto(DataType::Float, dims, &[0; 8]), &mut Folder::new(".")).is_err(), "{dims:?}");
        }
        assert!(read(&proto(DataType::String, &[1], &[0; 8]), &mut Folder::new(".")).is_err());
    }

    #[test]
    fn external_data_is_read_from_the_models_folder_only() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("secret"), [0; 64]).unwrap();
        std::fs::write(folder.join("weights"), 2.5f32.to_le_bytes()).unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        let at = |location: &str, offset: &str| {
            let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
            let external_data = vec![entry("location", location), entry("offset", offset)];
            read(&TensorProto { data_location: Some(1), external_data, ..proto(DataType::Float, &[1], &[]) }, &mut Folder::new(&folder))
        };
        assert_eq!(at("weights", "0").unwrap().scalar(), Some(2.5));
        for (location, offset) in [
            ("../secret", "0"),
            ("/etc/hostname", "0"),
            ("link", "0"),
            ("missing", "0"),
            (".", "0"),
            ("", "0"),
            ("weights", "1"),
            ("weights", "x"),
        ] {
            assert!(at(location, offset).is_err(), "{location} at {offset}");
        }
    }
}
