//! The npy format (numpy.lib.format, versions 1.0 to 3.0): header, then elements.
//!
//! The header is a Python dictionary; this reader knows exactly the three keys numpy writes, so that a hostile header
//! cannot nest.

use snn_ir::tensor::element_count;
use std::io::{self, Read, Write};

/// Longest header that is read; numpy's are padded to 64 or 128 bytes.
const MAX_HEADER: usize = 1 << 16;

/// Element types that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NpyType {
    /// `|u1`
    U8,
    /// `|i1`
    I8,
    /// `<u2`
    U16,
    /// `<i2`
    I16,
    /// `<u4`
    U32,
    /// `<i4`
    I32,
    /// `<u8`
    U64,
    /// `<i8`
    I64,
    /// `<f4`
    F32,
    /// `<f8`
    F64,
}

impl NpyType {
    fn parse(descr: &str) -> Option<Self> {
        Some(match descr {
            "|u1" | "<u1" => NpyType::U8,
            "|i1" | "<i1" => NpyType::I8,
            "<u2" => NpyType::U16,
            "<i2" => NpyType::I16,
            "<u4" => NpyType::U32,
            "<i4" => NpyType::I32,
            "<u8" => NpyType::U64,
            "<i8" => NpyType::I64,
            "<f4" => NpyType::F32,
            "<f8" => NpyType::F64,
            _ => return None,
        })
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            NpyType::U8 | NpyType::I8 => 1,
            NpyType::U16 | NpyType::I16 => 2,
            NpyType::U32 | NpyType::I32 | NpyType::F32 => 4,
            NpyType::U64 | NpyType::I64 | NpyType::F64 => 8,
        }
    }

    /// Little-endian elements of a float type as `f32`.
    pub fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        match self {
            NpyType::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
            NpyType::F64 => Some(bytes.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect()),
            _ => None,
        }
    }

    /// numpy's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            NpyType::U8 => "uint8",
            NpyType::I8 => "int8",
            NpyType::U16 => "uint16",
            NpyType::I16 => "int16",
            NpyType::U32 => "uint32",
            NpyType::I32 => "int32",
            NpyType::U64 => "uint64",
            NpyType::I64 => "int64",
            NpyType::F32 => "float32",
            NpyType::F64 => "float64",
        }
    }
}

/// An array as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    /// Element type.
    pub element: NpyType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Little-endian elements in row-major order; exactly as many as the shape says.
    pub bytes: Vec<u8>,
}

/// What stands before an array's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyHeader {
    /// Element type.
    pub element: NpyType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the header itself.
    pub length: u64,
    /// Bytes of the elements.
    pub bytes: usize,
}

impl NpyHeader {
    /// Reads a header from a source that holds `available` bytes.
    ///
    /// # Errors
    /// In words, when it is no array of a known kind or promises more than the source holds.
    pub fn read(mut source: impl Read, available: u64) -> Result<Self, String> {
        let mut start = [0u8; 10];
        source.read_exact(&mut start).map_err(|_| "it ends within the npy header".to_string())?;
        if &start[..6] != b"\x93NUMPY" {
            return Err("it is not an npy array".into());
        }
        let mut before = 10;
        let length = match start[6] {
            1 => usize::from(u16::from_le_bytes([start[8], start[9]])),
            2 | 3 => {
                let mut high = [0u8; 2];
                source.read_exact(&mut high).map_err(|_| "it ends within the npy header".to_string())?;
                before = 12;
                u32::from_le_bytes([start[8], start[9], high[0], high[1]]) as usize
            }
            v => return Err(format!("npy version {v} is not known")),
        };
        if length > MAX_HEADER {
            return Err(format!("its header claims {length} bytes"));
        }
        let mut header = vec![0u8; length];
        source.read_exact(&mut header).map_err(|_| "it ends within the npy header".to_string())?;
        let (element, shape) = parse_header(&String::from_utf8_lossy(&header))?;
        let bytes = element_count(&shape).and_then(|n| n.checked_mul(element.size())).ok_or("its shape is absurd")?;
        let length = (before + length) as u64;
        let held = available.saturating_sub(length);
        if bytes as u64 > held {
            return Err(format!("its header promises {bytes} bytes of elements but it holds {held}"));
        }
        Ok(NpyHeader { element, shape, length, bytes })
    }
}

impl NpyArray {
    /// Reads an array from a source that holds `available` bytes.
    ///
    /// # Errors
    /// In words, when it is no array of a known kind or the source does not hold what the header promises.
    pub fn read(mut source: impl Read, available: u64) -> Result<Self, String> {
        let NpyHeader { element, shape, bytes: size, .. } = NpyHeader::read(&mut source, available)?;
        // Grows with what is really there: `available` may itself come from a header.
        let mut bytes = Vec::new();
        source.take(size as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() != size {
            return Err(format!("its header promises {size} bytes of elements but it holds {}", bytes.len()));
        }
        Ok(NpyArray { element, shape, bytes })
    }

    /// The elements as class indices, for integer arrays whose elements all are one.
    pub fn to_labels(&self) -> Option<Vec<u32>> {
        let bytes = &self.bytes;
        fn convert<T>(items: impl Iterator<Item = T>) -> Option<Vec<u32>>
        where
            u32: TryFrom<T>,
        {
            items.map(|v| u32::try_from(v).ok()).collect()
        }
        match self.element {
            NpyType::U8 => convert(bytes.iter().copied()),
            NpyType::I8 => convert(bytes.iter().map(|&b| i8::from_le_bytes([b]))),
            NpyType::U16 => convert(bytes.as_chunks().0.iter().map(|&b| u16::from_le_bytes(b))),
            NpyType::I16 => convert(bytes.as_chunks().0.iter().map(|&b| i16::from_le_bytes(b))),
            NpyType::U32 => convert(bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b))),
            NpyType::I32 => convert(bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b))),
            NpyType::U64 => convert(bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b))),
            NpyType::I64 => convert(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b))),
            NpyType::F32 | NpyType::F64 => None,
        }
    }

    /// The elements as numbers, whatever their type.
    pub fn to_values(&self) -> Vec<f32> {
        let bytes = &self.bytes;
        match self.element {
            NpyType::U8 => bytes.iter().map(|&b| f32::from(b)).collect(),
            NpyType::I8 => bytes.iter().map(|&b| f32::from(i8::from_le_bytes([b]))).collect(),
            NpyType::U16 => bytes.as_chunks().0.iter().map(|&b| f32::from(u16::from_le_bytes(b))).collect(),
            NpyType::I16 => bytes.as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b))).collect(),
            NpyType::U32 => bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b) as f32).collect(),
            NpyType::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
            NpyType::U64 => bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b) as f32).collect(),
            NpyType::I64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f32).collect(),
            NpyType::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            NpyType::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        }
    }
}

/// Writes a float32 array, version 1.0.
///
/// # Errors
/// What the sink says.
///
/// # Panics
/// When `data` does not have as many elements as `shape` says.
pub fn write_f32(mut sink: impl Write, shape: &[usize], data: &[f32]) -> io::Result<()> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "elements of an array of {shape:?}");
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = if shape.len() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    // Elements start at a multiple of 64 bytes.
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    sink.write_all(b"\x93NUMPY\x01\x00")?;
    sink.write_all(&length.to_le_bytes())?;
    sink.write_all(header.as_bytes())?;
    let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    sink.write_all(&bytes)
}

/// Element type and shape from `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order.
fn parse_header(text: &str) -> Result<(NpyType, Vec<usize>), String> {
    let bad = || format!("its header is not understood: {}", text.trim().chars().take(120).collect::<String>());
    let mut rest = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(bad)?.trim();
    let (mut element, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(bad)?;
        let value = after.trim_start().strip_prefix(':').ok_or_else(bad)?.trim_start();
        let after = match key {
            "descr" => {
                let (descr, after) = quoted(value).ok_or("records are not supported")?;
                let known = NpyType::parse(descr).ok_or_else(|| {
                    format!("elements of type {descr} are not supported: use uint8 or float32 for samples, integers for labels")
                })?;
                element = Some(known);
                after
            }
            "fortran_order" => {
                let (is_fortran, after) = match (value.strip_prefix("True"), value.strip_prefix("False")) {
                    (Some(after), _) => (true, after),
                    (_, Some(after)) => (false, after),
                    _ => return Err(bad()),
                };
                fortran = Some(is_fortran);
                after
            }
            "shape" => {
                let (inside, after) = value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or_else(bad)?;
                let dims = inside.split(',').map(str::trim).filter(|d| !d.is_empty());
                shape = Some(dims.map(|d| d.trim_end_matches('L').parse()).collect::<Result<Vec<usize>, _>>().map_err(|_| bad())?);
                after
            }
            _ => return Err(bad()),
        };
        let after = after.trim_start();
        rest = after.strip_prefix(',').or(after.is_empty().then_some(after)).ok_or_else(bad)?.trim_start();
    }
    if fortran == Some(true) {
        return Err("it is in Fortran order: save it with np.ascontiguousarray".into());
    }
    match (element, shape) {
        (Some(element), Some(shape)) if shape.len() <= 8 => Ok((element, shape)),
        _ => Err(bad()),
    }
}

/// A string literal in single or double quotes and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|&c| c == '\'' || c == '"')?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_array_reads_back() {
        for shape in [vec![], vec![3], vec![2, 3]] {
            let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|v| v as f32 - 0.5).collect();
            let mut bytes = Vec::new();
            write_f32(&mut bytes, &shape, &data).unwrap();
            let array = NpyArray::read(&bytes[..], bytes.len() as u64).unwrap();
            assert_eq!((array.shape.clone(), array.element.to_f32(&array.bytes).unwrap()), (shape, data));
        }
    }

    #[test]
    fn headers_in_any_order_are_read_and_others_refused() {
        let text = "{'shape': (2, 3L), \"descr\": '|u1', 'fortran_order': False}";
        assert_eq!(parse_header(text), Ok((NpyType::U8, vec![2, 3])));
        let refused = [
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr' '<f4'}",
            "((((((((",
            "",
        ];
        refused.iter().for_each(|t| assert!(parse_header(t).is_err(), "{t}"));
    }

    #[test]
    fn a_header_that_promises_more_than_the_file_holds_is_refused_before_allocating() {
        for shape in ["(1099511627776,)", "(18446744073709551615, 3)", "(4, 4)"] {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.bytes());
            bytes.extend([0; 16]);
            assert!(NpyArray::read(&bytes[..], bytes.len() as u64).is_err(), "{shape}");
        }
        assert!(NpyArray::read(&b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..], 12).is_err());
    }
}
