//! `.snn` files: a compiled network with what one needs to use it.
//!
//! A file is a header of 20 bytes and a payload; numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `SNN\0` |
//! | 4..8 | format version, now 1 |
//! | 8..16 | length of the payload |
//! | 16..20 | CRC-32 (IEEE) of bytes 0..16 and the payload |
//! | 20.. | payload: the protobuf message `Program` of `snn.proto` |
//!
//! Operations are stored as in the text form: a name and named attributes (see [`crate::attr`]); tensors as little-endian
//! bytes. Readers refuse what they do not know: versions, fields, operations, attributes. Whatever bytes [`decode`] is
//! given, it does not panic, needs at most twice their number and 64 MiB of memory, and returns only verified graphs.
//! The longer description is `docs/snn-format.md`.

mod codec;
mod wire;

/// Messages of `snn.proto`.
mod schema {
    include!(concat!(env!("OUT_DIR"), "/snn.rs"));
}

use crate::graph::Graph;
use crate::limits::Limits;
use crate::preprocessing::Preprocessing;
use crate::verify::{VerifyError, verify, verify_within};
use prost::Message;
use prost::bytes::Bytes;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use thiserror::Error;

/// The format version that is written, and the only one so far.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 4] = *b"SNN\0";
const HEADER: usize = 20;

/// What a `.snn` file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The network.
    pub graph: Graph,
    /// How pixels become its input.
    pub preprocessing: Preprocessing,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Where a network comes from; for people, and to tell files apart.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Provenance {
    /// File name of the ONNX model, without folders.
    pub model: String,
    /// CRC-32 (IEEE) of that file.
    pub model_crc32: u32,
    /// The recipe, as YAML.
    pub recipe: String,
    /// The data that thresholds were chosen from, if there were any.
    pub calibration: Option<CalibrationSource>,
    /// Version of the compiler.
    pub compiler: String,
    /// What the compiler told its user.
    pub notes: Vec<String>,
}

/// Calibration data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationSource {
    /// Name of the file or folder, without the folders it is in.
    pub data: String,
    /// Number of samples taken from it.
    pub samples: u64,
}

/// What to do about a file of another format version.
fn way_out(version: u32) -> &'static str {
    if version > VERSION { "use a newer one" } else { "no program ever wrote that, the file is damaged" }
}

/// Why bytes are no `.snn` file that this version can use.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DecodeError {
    /// The first bytes are others.
    #[error("this is no .snn file")]
    Magic,
    /// A version that this reader does not know.
    #[error("the file has format version {0}, this program reads version {VERSION}: {way_out}", way_out = way_out(*.0))]
    Version(u32),
    /// More or fewer bytes than the header says.
    #[error("the file should have {expected} bytes and has {found}: it is cut off or was appended to")]
    Length {
        /// Bytes that the header announces, itself included.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The content is damaged.
    #[error("the checksum is wrong: the file is damaged")]
    Checksum,
    /// The payload is not what the schema says.
    #[error("the file's content is malformed: {0}")]
    Payload(String),
    /// A node that makes no sense, or that this version does not know.
    #[error("node `{node}` in the file: {reason}")]
    Node {
        /// Its name.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// The network breaks an invariant.
    #[error("the network in the file is broken: {0}")]
    Graph(#[source] VerifyError),
    /// The network needs more than it may.
    #[error(transparent)]
    TooLarge(VerifyError),
}

impl From<VerifyError> for DecodeError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Memory { .. } | VerifyError::Work { .. } => DecodeError::TooLarge(error),
            _ => DecodeError::Graph(error),
        }
    }
}

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The operating system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its content.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Why a file could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Readers would refuse the network.
    #[error(transparent)]
    Graph(#[from] VerifyError),
    /// Readers would refuse the preprocessing.
    #[error("preprocessing: {0}")]
    Preprocessing(&'static str),
    /// Readers would refuse so many nodes and attributes.
    #[error("the network has too many nodes for a .snn file")]
    TooLarge,
    /// The operating system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The file's bytes. Equal programs give equal bytes.
///
/// # Errors
/// When readers would refuse the file: the graph breaks an invariant, the preprocessing is unusable.
pub fn encode(program: &Program) -> Result<Vec<u8>, WriteError> {
    verify(&program.graph)?;
    if let Some(what) = codec::fault(&program.preprocessing) {
        return Err(WriteError::Preprocessing(what));
    }
    let message = codec::to_message(program);
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    message.encode(&mut bytes).expect("a vector has room for everything");
    wire::check(&bytes[HEADER..]).map_err(|_| WriteError::TooLarge)?;
    let checksum = checksum(&bytes[..HEADER], &bytes[HEADER..]);
    bytes[16..HEADER].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The program in a file's bytes, within the default [`Limits`].
///
/// # Errors
/// [`DecodeError`] for all bytes that [`encode`] does not make, and networks beyond the limits.
pub fn decode(bytes: impl Into<Bytes>) -> Result<Program, DecodeError> {
    decode_within(bytes, &Limits::default())
}

/// The program in a file's bytes, within `limits`.
///
/// # Errors
/// As [`decode`].
pub fn decode_within(bytes: impl Into<Bytes>, limits: &Limits) -> Result<Program, DecodeError> {
    let bytes: Bytes = bytes.into();
    let header = bytes.get(..HEADER).ok_or(if bytes.starts_with(&MAGIC) {
        DecodeError::Length { expected: HEADER as u64, found: bytes.len() as u64 }
    } else {
        DecodeError::Magic
    })?;
    let length = payload_length(header)?;
    if (bytes.len() - HEADER) as u64 != length {
        return Err(DecodeError::Length { expected: length.saturating_add(HEADER as u64), found: bytes.len() as u64 });
    }
    if header[16..] != checksum(header, &bytes[HEADER..]).to_le_bytes() {
        return Err(DecodeError::Checksum);
    }
    let payload = bytes.slice(HEADER..);
    wire::check(&payload)?;
    let message = schema::Program::decode(payload).map_err(|e| DecodeError::Payload(e.to_string()))?;
    let program = codec::from_message(message)?;
    verify_within(&program.graph, limits)?;
    Ok(program)
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(payload);
    hasher.finalize()
}

/// The payload's length, from a header of a version that we know.
fn payload_length(header: &[u8]) -> Result<u64, DecodeError> {
    if header[..4] != MAGIC {
        return Err(DecodeError::Magic);
    }
    let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&header[8..16]);
    Ok(u64::from_le_bytes(length))
}

/// Reads a file within the default [`Limits`].
///
/// # Errors
/// [`ReadError`]: what the operating system says, or [`decode`].
pub fn read(path: impl AsRef<Path>) -> Result<Program, ReadError> {
    read_within(path, &Limits::default())
}

/// Reads a file within `limits`.
///
/// # Errors
/// As [`read`].
pub fn read_within(path: impl AsRef<Path>, limits: &Limits) -> Result<Program, ReadError> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEADER as u64).read_to_end(&mut bytes)?;
    if bytes.len() < HEADER {
        return Ok(decode_within(bytes, limits)?);
    }
    let length = payload_length(&bytes)?;
    let metadata = file.metadata()?;
    let expected = length.saturating_add(HEADER as u64);
    if metadata.is_file() {
        // Only as much memory is asked for as there are bytes on disk.
        if metadata.len() != expected {
            return Err(DecodeError::Length { expected, found: metadata.len() }.into());
        }
        let room = usize::try_from(length).ok().and_then(|n| bytes.try_reserve_exact(n).ok());
        room.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    }
    file.take(length).read_to_end(&mut bytes)?;
    Ok(decode_within(bytes, limits)?)
}

/// Writes a file: all of it or nothing. It is made beside `path` and moved there when it is complete and on disk.
///
/// # Errors
/// As [`encode`], and what the operating system says.
pub fn write(path: impl AsRef<Path>, program: &Program) -> Result<(), WriteError> {
    let path = path.as_ref();
    let bytes = encode(program)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".snn-");
    let old = std::fs::metadata(path).ok().map(|m| m.permissions());
    // As the file that is replaced, or as any new one: what the user's mask leaves of it. Temporary files are private otherwise.
    #[cfg(unix)]
    builder.permissions(old.clone().unwrap_or(std::os::unix::fs::PermissionsExt::from_mode(0o666)));
    let mut file = builder.tempfile_in(folder)?;
    if let Some(old) = old {
        file.as_file().set_permissions(old)?;
    }
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
