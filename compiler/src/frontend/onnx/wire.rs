//! A look at a protobuf before it is decoded: how much memory it would take.
//!
//! Two bytes of an empty message decode into hundreds of bytes of struct, so a small file could ask for gigabytes.
//! The walk follows ONNX's messages through the bytes and adds up the structs, without allocating.

use std::mem::size_of;
use tract_onnx::pb;

/// What a decoded model may take beyond twice its file.
const ALLOWANCE: usize = 48 << 20;

/// Kinds of field that cost more memory than bytes.
#[derive(Clone, Copy)]
enum Cost {
    /// A nested message of that many bytes, with its own fields.
    Message(usize, &'static [(u64, Cost)]),
    /// A string or byte string that takes this much on top of its characters.
    Text(usize),
    /// Packed or single varints, each of this many bytes when decoded.
    Numbers(usize),
}

use Cost::{Message, Numbers, Text};

const STRING: Cost = Text(size_of::<String>());
const ENTRY: Cost = Message(size_of::<pb::StringStringEntryProto>(), &[]);
const TENSOR_FIELDS: &[(u64, Cost)] = &[(1, Numbers(8)), (5, Numbers(4)), (6, STRING), (7, Numbers(8)), (11, Numbers(8)), (13, ENTRY)];
const TENSOR: Cost = Message(size_of::<pb::TensorProto>(), TENSOR_FIELDS);
const SPARSE: Cost = Message(size_of::<pb::SparseTensorProto>(), &[(1, TENSOR), (2, TENSOR), (3, Numbers(8))]);
const DIMENSION: Cost = Message(size_of::<pb::tensor_shape_proto::Dimension>(), &[]);
const SHAPE: Cost = Message(0, &[(1, DIMENSION)]);
const TYPE: Cost = Message(size_of::<pb::TypeProto>(), &[(1, Message(0, &[(2, SHAPE)]))]);
const VALUE: Cost = Message(size_of::<pb::ValueInfoProto>(), &[(2, TYPE)]);
const ANNOTATION: Cost = Message(size_of::<pb::TensorAnnotation>(), &[(2, ENTRY)]);
static ATTRIBUTE_FIELDS: [(u64, Cost); 9] = [
    (5, TENSOR),
    (6, Message(size_of::<pb::GraphProto>(), &GRAPH_FIELDS)),
    (8, Numbers(8)),
    (9, STRING),
    (10, TENSOR),
    (11, Message(size_of::<pb::GraphProto>(), &GRAPH_FIELDS)),
    (15, TYPE),
    (22, SPARSE),
    (23, SPARSE),
];
static NODE_FIELDS: [(u64, Cost); 3] = [(1, STRING), (2, STRING), (5, Message(size_of::<pb::AttributeProto>(), &ATTRIBUTE_FIELDS))];
static GRAPH_FIELDS: [(u64, Cost); 7] = [
    (1, Message(size_of::<pb::NodeProto>(), &NODE_FIELDS)),
    (5, TENSOR),
    (11, VALUE),
    (12, VALUE),
    (13, VALUE),
    (14, ANNOTATION),
    (15, SPARSE),
];
static FUNCTION_FIELDS: [(u64, Cost); 5] = [
    (4, STRING),
    (5, STRING),
    (6, STRING),
    (7, Message(size_of::<pb::NodeProto>(), &NODE_FIELDS)),
    (9, Message(size_of::<pb::OperatorSetIdProto>(), &[])),
];
static TRAINING_FIELDS: [(u64, Cost); 4] = [
    (1, Message(size_of::<pb::GraphProto>(), &GRAPH_FIELDS)),
    (2, Message(size_of::<pb::GraphProto>(), &GRAPH_FIELDS)),
    (3, ENTRY),
    (4, ENTRY),
];
static MODEL_FIELDS: [(u64, Cost); 5] = [
    (7, Message(size_of::<pb::GraphProto>(), &GRAPH_FIELDS)),
    (8, Message(size_of::<pb::OperatorSetIdProto>(), &[])),
    (14, ENTRY),
    (20, Message(size_of::<pb::TrainingInfoProto>(), &TRAINING_FIELDS)),
    (25, Message(size_of::<pb::FunctionProto>(), &FUNCTION_FIELDS)),
];

fn skip<'b>(bytes: &mut &'b [u8], n: usize) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Memory the fields of a message take, `None` when the bytes are no message. Depth is bounded as prost bounds it.
fn expansion(mut bytes: &[u8], fields: &[(u64, Cost)], depth: usize) -> Option<usize> {
    let mut total = 0usize;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let cost = fields.iter().find(|f| f.0 == key >> 3).map(|f| f.1);
        match key & 7 {
            0 => {
                varint(&mut bytes)?;
                if let Some(Numbers(size)) = cost {
                    total = total.saturating_add(size);
                }
            }
            1 => _ = skip(&mut bytes, 8)?,
            5 => _ = skip(&mut bytes, 4)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = skip(&mut bytes, length)?;
                total = total.saturating_add(match cost {
                    Some(Message(size, fields)) if depth > 0 => expansion(inner, fields, depth - 1)?.saturating_add(size),
                    Some(Message(..)) => return None,
                    Some(Text(size)) => size.saturating_add(inner.len()),
                    Some(Numbers(size)) => inner.iter().filter(|&&b| b < 0x80).count().saturating_mul(size),
                    None => inner.len(),
                });
            }
            _ => return None,
        }
    }
    Some(total)
}

/// Memory that a function takes, whose encoded form `bytes` are.
pub fn function_memory(bytes: &[u8]) -> usize {
    expansion(bytes, &FUNCTION_FIELDS, 100).unwrap_or(usize::MAX)
}

/// Checks that `bytes` decode into at most their own length and the allowance.
///
/// # Errors
/// A reason, when they do not or are no protobuf message.
pub fn check_expansion(bytes: &[u8]) -> Result<(), String> {
    match expansion(bytes, &MODEL_FIELDS, 100) {
        None => Err("the protobuf is malformed or cut off".into()),
        // A growing vector holds up to twice its elements, and its old self while it moves.
        Some(n) if n > bytes.len() + ALLOWANCE / 3 => {
            Err(format!("{} bytes would decode into {n}: it is built of empty messages", bytes.len()))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_empty_nodes_is_refused_before_it_is_decoded() {
        let nodes = [0x0a, 0x00].repeat(1 << 20);
        let mut length = Vec::new();
        prost::encode_length_delimiter(nodes.len(), &mut length).unwrap();
        let file = [&[0x3a][..], &length, &nodes].concat();
        assert!(check_expansion(&file).unwrap_err().contains("empty messages"));
    }

    #[test]
    fn cut_off_bytes_are_malformed() {
        assert!(check_expansion(&[0x3a, 0x05, 0x0a]).is_err());
        assert!(check_expansion(&[0xff; 16]).is_err());
        assert!(check_expansion(&[]).is_ok());
    }
}
