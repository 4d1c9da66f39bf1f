//! Where the bytes of samples are. Big files are read sample by sample when samples are asked for, so that memory does not grow with
//! their number.

use super::inflate::Deflated;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

/// Samples of equal size, as bytes.
#[derive(Debug)]
pub(super) enum Store {
    /// In memory, one after the other.
    Memory {
        /// The samples.
        bytes: Vec<u8>,
        /// Bytes of one.
        size: usize,
    },
    /// In files that are read as they are.
    Files {
        /// The files, one after the other.
        parts: Vec<Part>,
        /// Bytes of a sample.
        size: usize,
    },
    /// In a compressed file.
    Deflated(Box<Deflated>),
}

/// Samples at equal distances in a file.
#[derive(Debug)]
pub(super) struct Part {
    /// The file; threads take turns.
    pub file: Mutex<File>,
    /// The first sample's first byte.
    pub first: u64,
    /// Bytes from sample to sample.
    pub stride: u64,
    /// Number of samples.
    pub count: usize,
}

impl Store {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Store::Memory { bytes, size } => bytes.len() / size,
            Store::Files { parts, .. } => parts.iter().map(|p| p.count).sum(),
            Store::Deflated(deflated) => deflated.len(),
        }
    }

    /// How many samples in a row may be asked for in any order without reading anything twice.
    pub fn together(&self) -> usize {
        match self {
            Store::Deflated(deflated) => deflated.recent(),
            _ => usize::MAX,
        }
    }

    /// The bytes of sample `index`, which there must be.
    pub fn sample(&self, index: usize) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Store::Memory { bytes, size } => Ok(Cow::Borrowed(&bytes[index * size..(index + 1) * size])),
            Store::Files { parts, size } => {
                let mut index = index;
                for part in parts {
                    if index < part.count {
                        return part.read(index, *size).map(Cow::Owned);
                    }
                    index -= part.count;
                }
                unreachable!("there is no such sample")
            }
            Store::Deflated(deflated) => deflated.sample(index).map(Cow::Owned),
        }
    }
}

impl Part {
    fn read(&self, index: usize, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.first + index as u64 * self.stride))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
