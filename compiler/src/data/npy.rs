//! The npy format (numpy.lib.format, versions 1.0 to 3.0): header, then elements.
//!
//! The header is a Python dictionary; this reader knows exactly the three keys numpy writes, so that a hostile header
//! cannot nest.

use snn_ir::tensor::element_count;
use std::io::{self, Read, Write};

/// Longest header that is read; numpy's are padded to 64 or 128 bytes.
const MAX_HEADER: usize = 1 << 16;

/// Element types that are understood: truth values, integers and floats of numpy's sizes but long double,
/// in either byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpyType {
    kind: Kind,
    /// Bytes per element.
    size: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
}

impl NpyType {
    /// `|u1`: pixels.
    pub const U8: NpyType = NpyType { kind: Kind::Unsigned, size: 1, big_endian: false };

    fn parse(descr: &str) -> Option<Self> {
        let big_endian = match descr.chars().next()? {
            '<' | '|' => false,
            '>' => true,
            _ => return None,
        };
        let (kind, size) = match &descr[1..] {
            "b1" => (Kind::Bool, 1),
            "u1" => (Kind::Unsigned, 1),
            "u2" => (Kind::Unsigned, 2),
            "u4" => (Kind::Unsigned, 4),
            "u8" => (Kind::Unsigned, 8),
            "i1" => (Kind::Signed, 1),
            "i2" => (Kind::Signed, 2),
            "i4" => (Kind::Signed, 4),
            "i8" => (Kind::Signed, 8),
            "f2" => (Kind::Float, 2),
            "f4" => (Kind::Float, 4),
            "f8" => (Kind::Float, 8),
            _ => return None,
        };
        // One byte has no order.
        Some(NpyType { kind, size, big_endian: big_endian && size > 1 })
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.size
    }

    /// Whether elements are floats.
    pub fn is_float(self) -> bool {
        self.kind == Kind::Float
    }

    /// `of` every element; 64-bit integers are rounded to doubles.
    fn convert<T>(self, bytes: &[u8], of: impl Fn(f64) -> T) -> Vec<T> {
        fn each<const N: usize, T>(big: bool, bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
            let little = |&b: &[u8; N]| {
                let mut b = b;
                if big {
                    b.reverse();
                }
                of(b)
            };
            bytes.as_chunks::<N>().0.iter().map(little).collect()
        }
        let big = self.big_endian;
        match (self.kind, self.size) {
            (Kind::Bool, _) => each(big, bytes, |[b]: [u8; 1]| of(f64::from(u8::from(b != 0)))),
            (Kind::Unsigned, 1) => each(big, bytes, |b| of(f64::from(u8::from_le_bytes(b)))),
            (Kind::Unsigned, 2) => each(big, bytes, |b| of(f64::from(u16::from_le_bytes(b)))),
            (Kind::Unsigned, 4) => each(big, bytes, |b| of(f64::from(u32::from_le_bytes(b)))),
            (Kind::Unsigned, _) => each(big, bytes, |b| of(u64::from_le_bytes(b) as f64)),
            (Kind::Signed, 1) => each(big, bytes, |b| of(f64::from(i8::from_le_bytes(b)))),
            (Kind::Signed, 2) => each(big, bytes, |b| of(f64::from(i16::from_le_bytes(b)))),
            (Kind::Signed, 4) => each(big, bytes, |b| of(f64::from(i32::from_le_bytes(b)))),
            (Kind::Signed, _) => each(big, bytes, |b| of(i64::from_le_bytes(b) as f64)),
            (Kind::Float, 2) => each(big, bytes, |b| of(half::f16::from_le_bytes(b).to_f64())),
            (Kind::Float, 4) => each(big, bytes, |b| of(f64::from(f32::from_le_bytes(b)))),
            (Kind::Float, _) => each(big, bytes, |b| of(f64::from_le_bytes(b))),
        }
    }

    /// Elements as `f32`, rounded where need be.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        self.convert(bytes, |v| v as f32)
    }

    /// Elements as class indices, if all are whole numbers from 0 to 2^32 - 1.
    pub fn to_labels(self, bytes: &[u8]) -> Option<Vec<u32>> {
        let is_class = |v: f64| v.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&v);
        self.convert(bytes, |v| is_class(v).then_some(v as u32)).into_iter().collect()
    }

    /// numpy's name of the type.
    pub fn name(self) -> String {
        let kind = match self.kind {
            Kind::Bool => return "bool".into(),
            Kind::Unsigned => "uint",
            Kind::Signed => "int",
            Kind::Float => "float",
        };
        format!("{kind}{}", 8 * self.size)
    }
}

/// What is before an array's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyHeader {
    /// Element type.
    pub element: NpyType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Whether the first index varies fastest, as in Fortran, and not the last.
    pub column_major: bool,
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
        let (element, shape, column_major) = parse_header(&String::from_utf8_lossy(&header))?;
        let bytes = element_count(&shape).and_then(|n| n.checked_mul(element.size())).ok_or("its shape is absurd")?;
        let length = (before + length) as u64;
        let held = available.saturating_sub(length);
        if bytes as u64 > held {
            return Err(format!("its header promises {bytes} bytes of elements but it holds {held}"));
        }
        Ok(NpyHeader { element, shape, column_major, length, bytes })
    }

    /// The elements, from what follows the header, in row-major order whatever their order there.
    ///
    /// # Errors
    /// In words, when there are fewer than the header says.
    pub fn elements(&self, source: impl Read) -> Result<Vec<u8>, String> {
        // Grows with what is really there: the length of the source may itself come from a header.
        let mut bytes = Vec::new();
        source.take(self.bytes as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() != self.bytes {
            return Err(format!("its header promises {} bytes of elements but it holds {}", self.bytes, bytes.len()));
        }
        Ok(if self.column_major { row_major(&bytes, &self.shape, self.element.size()) } else { bytes })
    }
}

/// Column-major elements of `size` bytes in row-major order.
fn row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let strides: Vec<usize> = shape.iter().scan(size, |stride, &extent| Some(std::mem::replace(stride, *stride * extent))).collect();
    let mut index = vec![0; shape.len()];
    let (mut at, mut ordered) = (0, Vec::with_capacity(bytes.len()));
    while ordered.len() < bytes.len() {
        ordered.extend_from_slice(&bytes[at..at + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    ordered
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

/// Element type, shape and whether it is column-major, from `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order.
fn parse_header(text: &str) -> Result<(NpyType, Vec<usize>, bool), String> {
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
                    format!("elements of type {descr} are not read, only truth values, integers and floats of up to 64 bits")
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
    match (element, shape) {
        (Some(element), Some(shape)) if shape.len() <= 8 => {
            // In one dimension there is but one order.
            let column_major = fortran == Some(true) && shape.len() > 1;
            Ok((element, shape, column_major))
        }
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

    /// Shape, element type and elements of an npy file.
    fn read(bytes: &[u8]) -> Result<(NpyHeader, Vec<u8>), String> {
        let mut source = bytes;
        let header = NpyHeader::read(&mut source, bytes.len() as u64)?;
        let elements = header.elements(source)?;
        Ok((header, elements))
    }

    #[test]
    fn a_written_array_is_what_numpy_writes_and_reads_back() {
        for shape in [vec![], vec![3], vec![2, 3]] {
            let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|v| v as f32 - 0.5).collect();
            let mut bytes = Vec::new();
            write_f32(&mut bytes, &shape, &data).unwrap();
            let (header, elements) = read(&bytes).unwrap();
            assert_eq!((header.shape, header.element.to_f32(&elements)), (shape, data));
        }
        let mut bytes = Vec::new();
        write_f32(&mut bytes, &[2, 1], &[1.0, -2.0]).unwrap();
        // numpy 2.1: np.save(f, np.array([[1.0], [-2.0]], dtype=np.float32))
        let mut saved = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }".to_vec();
        saved.resize(127, b' ');
        saved.extend(b"\n\x00\x00\x80\x3f\x00\x00\x00\xc0");
        // numpy pads to 64 or 128 bytes; both are the format.
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[10..bytes.len() - 8]).trim_end().to_string();
        assert_eq!((text(&bytes), &bytes[bytes.len() - 8..]), (text(&saved), &saved[saved.len() - 8..]));
        assert_eq!((&bytes[..8], (bytes.len() - 8) % 64), (&saved[..8], 0));
    }

    #[test]
    fn headers_in_any_order_are_read_and_others_refused() {
        let text = "{'shape': (2, 3L), \"descr\": '|u1', 'fortran_order': False}";
        assert_eq!(parse_header(text), Ok((NpyType::U8, vec![2, 3], false)));
        let refused = [
            "{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '\u{e9}4', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr' '<f4'}",
            "((((((((",
            "",
        ];
        refused.iter().for_each(|t| assert!(parse_header(t).is_err(), "{t}"));
    }

    fn npy(descr: &str, fortran: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), elements].concat()
    }

    #[test]
    fn all_types_and_byte_orders_of_numpy_give_the_numbers_that_were_saved() {
        let cases: [(&str, &[u8], [f32; 2]); 14] = [
            ("|b1", &[0, 1], [0.0, 1.0]),
            ("|u1", &[0, 255], [0.0, 255.0]),
            ("|i1", &[0xff, 127], [-1.0, 127.0]),
            ("<u2", &[1, 0, 0xff, 0xff], [1.0, 65535.0]),
            (">i2", &[0xff, 0xfe, 1, 0], [-2.0, 256.0]),
            (">u4", &[0, 0, 1, 0, 0, 0, 0, 3], [256.0, 3.0]),
            ("<i4", &[0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0], [-1.0, 7.0]),
            (">u8", &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0], [9.0, 4294967296.0]),
            ("<i8", &[0xfe, 255, 255, 255, 255, 255, 255, 255, 5, 0, 0, 0, 0, 0, 0, 0], [-2.0, 5.0]),
            ("<f2", &[0x00, 0x3c, 0x00, 0xc1], [1.0, -2.5]),
            (">f2", &[0x3c, 0x00, 0xc1, 0x00], [1.0, -2.5]),
            (">f4", &[0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0], [1.0, -2.5]),
            ("<f8", &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0x04, 0xc0], [1.0, -2.5]),
            (">f8", &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0x04, 0, 0, 0, 0, 0, 0], [1.0, -2.5]),
        ];
        for (descr, elements, wanted) in cases {
            let (header, elements) = read(&npy(descr, "False", "(2,)", elements)).unwrap();
            assert_eq!(header.element.to_f32(&elements), wanted, "{descr}");
        }
    }

    #[test]
    fn arrays_in_fortran_order_are_read_in_row_major_order() {
        // np.asfortranarray(np.arange(12, dtype='u1').reshape(2, 3, 2))
        let stored = [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11];
        let (_, elements) = read(&npy("|u1", "True", "(2, 3, 2)", &stored)).unwrap();
        assert_eq!(elements, (0..12).collect::<Vec<u8>>());
        let (_, elements) = read(&npy("<u2", "True", "(2, 2)", &[1, 0, 3, 0, 2, 0, 4, 0])).unwrap();
        assert_eq!(elements, [1, 0, 2, 0, 3, 0, 4, 0]);
    }

    #[test]
    fn whole_numbers_from_zero_are_labels_whatever_their_type() {
        let labels = |descr: &str, elements: &[u8]| NpyType::parse(descr).unwrap().to_labels(elements);
        assert_eq!(labels(">i2", &[0, 3, 1, 0]), Some(vec![3, 256]));
        assert_eq!(labels("<f2", &[0x00, 0x3c, 0x00, 0x40]), Some(vec![1, 2]));
        assert_eq!(labels("|i1", &[5, 0xff]), None);
        assert_eq!(labels("<f2", &[0x00, 0x38]), None);
        assert_eq!(labels("<f2", &[0x00, 0x7e]), None, "NaN");
    }

    #[test]
    fn a_header_that_promises_more_than_the_file_holds_is_refused_before_allocating() {
        for shape in ["(1099511627776,)", "(18446744073709551615, 3)", "(4, 4)"] {
            assert!(read(&npy("<f4", "False", shape, &[0; 16])).is_err(), "{shape}");
        }
        assert!(read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").is_err());
    }
}
