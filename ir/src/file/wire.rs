//! A look at a payload before it is decoded: whether it only has fields that the schema has, and
//! how much memory it would take.
//!
//! Tensor data costs what it does in the file. But an empty message of two bytes becomes a struct
//! of hundreds, so a small file could ask for a lot of memory; and the decoder ignores fields that
//! it does not know.

use super::DecodeError;

/// Memory that everything but tensor data may take.
const BUDGET: usize = 48 << 20;
/// How deep messages may nest. A layer's synapse has ten levels.
const MAX_DEPTH: usize = 16;

/// What a field holds.
#[derive(Clone, Copy)]
enum Field {
    /// A message of this name.
    Message(&'static str),
    /// A number.
    Number,
    /// Many numbers, packed or not.
    Numbers,
    Text,
    /// Tensor data.
    Data,
}

/// The fields of a message: number, name and kind of each.
type Fields = &'static [(u64, &'static str, Field)];

// The messages of `snn.proto` with the number, name and kind of each field: `SCHEMA`.
include!(concat!(env!("OUT_DIR"), "/snn_schema.rs"));

/// The field `number` of a message, and its name.
fn field(message: &str, number: u64) -> Option<(&'static str, Field)> {
    let (_, fields) = SCHEMA.iter().find(|(name, _)| *name == message)?;
    fields.iter().find(|f| f.0 == number).map(|&(_, name, field)| (name, field))
}

/// Upper bound of the memory, in bytes, that a message takes while it becomes part of a graph,
/// without its fields.
fn cost(message: &str) -> usize {
    match message {
        "Node" => 2048,
        "Attribute" | "Value" => 512,
        _ => 256,
    }
}

/// The same of one of many numbers: an operand becomes an edge of the graph.
fn cost_of_number(message: &str, field: &str) -> usize {
    if (message, field) == ("Node", "operands") { 128 } else { 32 }
}

/// Checks the fields of a payload and that it can be decoded within the memory that the module's
/// user may take.
pub(super) fn check(payload: &[u8]) -> Result<(), DecodeError> {
    Scan { left: BUDGET }.message(payload, "Program", 0)
}

struct Scan {
    left: usize,
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError::Payload(reason.into()))
}

impl Scan {
    fn spend(&mut self, cost: usize) -> Result<(), DecodeError> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => malformed("it has more nodes and attributes than any network"),
        }
    }

    fn message(&mut self, mut bytes: &[u8], message: &str, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return malformed("its messages are nested too deeply");
        }
        self.spend(cost(message))?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let Some((name, field)) = field(message, key >> 3) else {
                return malformed(format!("field {} of {message} is unknown", key >> 3));
            };
            let content = match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    None
                }
                1 => take(&mut bytes, 8).map(|_| None)?,
                5 => take(&mut bytes, 4).map(|_| None)?,
                2 => {
                    let length = varint(&mut bytes)?;
                    Some(take(&mut bytes, length)?)
                }
                other => return malformed(format!("wire type {other} is unknown")),
            };
            match (field, content) {
                (Field::Message(inner), Some(content)) => self.message(content, inner, depth + 1)?,
                // Packed: every number ends in a byte without the top bit; a float has four, so at
                // most that many.
                (Field::Numbers, Some(content)) => {
                    let count = content.iter().filter(|&&b| b < 0x80).count().max(content.len() / 4);
                    self.spend(count.saturating_mul(cost_of_number(message, name)))?;
                }
                (Field::Numbers, None) => self.spend(cost_of_number(message, name))?,
                (Field::Text, Some(content)) => self.spend(content.len().saturating_mul(4) + 64)?,
                (Field::Data, Some(_)) | (Field::Number, None) => {}
                _ => return malformed(format!("field {} of {message} has the wrong type", key >> 3)),
            }
        }
        Ok(())
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for (i, &b) in bytes.iter().take(10).enumerate() {
        value |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    malformed("a number has no end")
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], DecodeError> {
    match usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n)) {
        Some((head, tail)) => {
            *bytes = tail;
            Ok(head)
        }
        None => malformed("a field is longer than its message"),
    }
}
