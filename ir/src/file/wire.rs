//! A look at a payload before it is decoded: whether it only has fields that the schema has, and how much memory it
//! would take.
//!
//! Tensor data costs what it does in the file. But an empty message of two bytes becomes a struct of hundreds, so a
//! small file could ask for a lot of memory; and the decoder ignores fields that it does not know.

use super::DecodeError;

/// Memory that everything but tensor data may take.
const BUDGET: usize = 48 << 20;
/// How deep messages may nest. A layer's synapse has ten levels.
const MAX_DEPTH: usize = 16;

/// Messages of the schema.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Message {
    Program,
    Graph,
    Node,
    Attribute,
    Value,
    Integers,
    Tensor,
    Call,
    List,
    Preprocessing,
    Size,
    Provenance,
    Calibration,
}

/// What a field holds.
enum Field {
    Message(Message),
    /// A number.
    Number,
    /// Many numbers, packed or not; and what each costs.
    Numbers(usize),
    Text,
    /// Tensor data.
    Data,
}

impl Message {
    /// Upper bound of the memory, in bytes, that one takes while it becomes part of a graph, without its fields.
    fn cost(self) -> usize {
        match self {
            Message::Node => 2048,
            Message::Attribute | Message::Value => 512,
            _ => 256,
        }
    }

    fn field(self, number: u64) -> Option<Field> {
        use Field::{Data, Number, Numbers, Text};
        let numbers = Numbers(32);
        Some(match (self, number) {
            (Message::Program, 1) => Field::Message(Message::Graph),
            (Message::Program, 2) => Field::Message(Message::Preprocessing),
            (Message::Program, 3) => Field::Message(Message::Provenance),
            (Message::Graph, 1) | (Message::Node, 1 | 2) | (Message::Attribute, 1) | (Message::Call, 1) | (Message::Value, 3) => Text,
            (Message::Graph, 2) => Number,
            (Message::Graph, 3) => Field::Message(Message::Node),
            (Message::Graph, 4) => numbers,
            (Message::Node, 3) => Numbers(128),
            (Message::Node, 4) | (Message::Call, 2) => Field::Message(Message::Attribute),
            (Message::Node, 5) => Number,
            (Message::Node, 6) => numbers,
            (Message::Attribute, 2) => Field::Message(Message::Value),
            (Message::Value, 1 | 2) => Number,
            (Message::Value, 4 | 5) => Field::Message(Message::Integers),
            (Message::Value, 6) => Field::Message(Message::Tensor),
            (Message::Value, 7) => Field::Message(Message::Call),
            (Message::Value, 8) => Field::Message(Message::List),
            (Message::Integers, 1) => numbers,
            (Message::Tensor, 1) => Number,
            (Message::Tensor, 2) => numbers,
            (Message::Tensor, 3) => Data,
            (Message::List, 1) => Field::Message(Message::Value),
            (Message::Preprocessing, 1 | 2) => Number,
            (Message::Preprocessing, 3 | 4) => numbers,
            (Message::Preprocessing, 5) => Field::Message(Message::Size),
            (Message::Size, 1 | 2) => Number,
            (Message::Provenance, 1 | 3 | 5 | 6) => Text,
            (Message::Provenance, 2) => Number,
            (Message::Provenance, 4) => Field::Message(Message::Calibration),
            (Message::Calibration, 1) => Text,
            (Message::Calibration, 2) => Number,
            _ => return None,
        })
    }
}

/// Checks the fields of a payload and that it can be decoded within the memory that the module's user may take.
pub(super) fn check(payload: &[u8]) -> Result<(), DecodeError> {
    Scan { left: BUDGET }.message(payload, Message::Program, 0)
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

    fn message(&mut self, mut bytes: &[u8], message: Message, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return malformed("its messages are nested too deeply");
        }
        self.spend(message.cost())?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let Some(field) = message.field(key >> 3) else {
                return malformed(format!("field {} of {message:?} is unknown", key >> 3));
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
                // Packed: every number ends in a byte without the top bit; a float has four, so at most that many.
                (Field::Numbers(cost), Some(content)) => {
                    let count = content.iter().filter(|&&b| b < 0x80).count().max(content.len() / 4);
                    self.spend(count.saturating_mul(cost))?;
                }
                (Field::Numbers(cost), None) => self.spend(cost)?,
                (Field::Text, Some(content)) => self.spend(content.len().saturating_mul(4) + 64)?,
                (Field::Data, Some(_)) | (Field::Number, None) => {}
                _ => return malformed(format!("field {} of {message:?} has the wrong type", key >> 3)),
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
