//! Samples in a compressed member of a zip archive, decoded as a stream.
//!
//! Samples are asked for about in order, by several threads. What was decoded last stays in memory for those who are a little late; who asks for
//! something older makes decoding start anew.

use super::npy::NpyHeader;
use flate2::read::DeflateDecoder;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::sync::{Mutex, PoisonError};

/// Samples that stay in memory: more than threads are ever apart that are handed samples in order..
const RECENT: usize = 256;
/// ..unless these are so large that they would take more than this many bytes.
const RECENT_BYTES: usize = 128 << 20;

/// Where a member's compressed bytes are.
#[derive(Debug)]
pub(super) struct Member {
    /// The archive.
    pub file: File,
    /// The first byte.
    pub first: u64,
    /// Number of compressed bytes.
    pub compressed: u64,
    /// CRC-32 of the decoded bytes.
    pub crc: u32,
    /// Number of decoded bytes.
    pub size: u64,
}

type Decoder = DeflateDecoder<Take<BufReader<File>>>;

impl Member {
    fn stored(&self) -> io::Result<Take<BufReader<File>>> {
        let mut file = BufReader::new(self.file.try_clone()?);
        file.seek(SeekFrom::Start(self.first))?;
        Ok(file.take(self.compressed))
    }

    /// The decoded bytes of a compressed member from the first on.
    pub fn decoder(&self) -> io::Result<Decoder> {
        self.stored().map(DeflateDecoder::new)
    }

    /// The member's bytes from the first on, decoded if it is compressed.
    pub fn reader(&self, compressed: bool) -> io::Result<Box<dyn Read>> {
        Ok(if compressed { Box::new(self.decoder()?) } else { Box::new(self.stored()?) })
    }

    /// The elements of the array that the member is, checked by its checksum.
    pub fn elements(&self, header: &NpyHeader, compressed: bool) -> Result<Vec<u8>, String> {
        let failed = |e: io::Error| e.to_string();
        let mut reader = Checked { source: self.reader(compressed).map_err(failed)?, crc: Default::default() };
        io::copy(&mut (&mut reader).take(header.length), &mut io::sink()).map_err(failed)?;
        let elements = header.elements(&mut reader)?;
        io::copy(&mut (&mut reader).take(self.size), &mut io::sink()).map_err(failed)?;
        if reader.crc.finalize() != self.crc {
            return Err(DAMAGED.into());
        }
        Ok(elements)
    }
}

const DAMAGED: &str = "the checksum is wrong: the archive is damaged";

/// Reads and computes the checksum of what was read.
struct Checked<R> {
    source: R,
    crc: crc32fast::Hasher,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.crc.update(&buffer[..length]);
        Ok(length)
    }
}

/// Samples of equal size.
#[derive(Debug)]
pub(super) struct Deflated {
    member: Member,
    /// Bytes before the first sample.
    header: u64,
    /// Bytes of a sample.
    size: usize,
    count: usize,
    stream: Mutex<Option<Stream>>,
}

#[derive(Debug)]
struct Stream {
    decoder: Decoder,
    crc: crc32fast::Hasher,
    /// The last samples that were decoded.
    recent: VecDeque<Vec<u8>>,
    /// The sample that is decoded next.
    next: usize,
}

impl Deflated {
    /// `count` samples of `size` bytes that follow `header` bytes of `member`.
    pub fn new(member: Member, header: u64, size: usize, count: usize) -> Self {
        Deflated { member, header, size, count, stream: Mutex::new(None) }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Samples that stay in memory after they were decoded, one at least for every thread.
    pub fn recent(&self) -> usize {
        (RECENT_BYTES / self.size.max(1)).max(rayon::current_num_threads() + 1).min(RECENT)
    }

    /// The bytes of sample `index`.
    pub fn sample(&self, index: usize) -> io::Result<Vec<u8>> {
        let mut guard = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.as_ref().is_none_or(|s| index + s.recent.len() < s.next) {
            *guard = Some(self.start()?);
        }
        let stream = guard.as_mut().expect("it has just been started");
        while stream.next <= index {
            if let Err(e) = self.decode_next(stream) {
                *guard = None;
                return Err(e);
            }
        }
        Ok(stream.recent[index + stream.recent.len() - stream.next].clone())
    }

    fn start(&self) -> io::Result<Stream> {
        let mut decoder = self.member.decoder()?;
        let mut header = Vec::new();
        (&mut decoder).take(self.header).read_to_end(&mut header)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        Ok(Stream { decoder, crc, recent: VecDeque::new(), next: 0 })
    }

    fn decode_next(&self, stream: &mut Stream) -> io::Result<()> {
        let mut sample = if stream.recent.len() < self.recent() { Vec::new() } else { stream.recent.pop_front().unwrap_or_default() };
        sample.resize(self.size, 0);
        stream.decoder.read_exact(&mut sample)?;
        stream.crc.update(&sample);
        stream.recent.push_back(sample);
        stream.next += 1;
        // The archive's checksum covers the header, too, and what may follow the last sample, of which there is nothing in an npy array.
        if stream.next == self.count && stream.crc.clone().finalize() != self.member.crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, DAMAGED));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_large_samples_is_bounded_by_bytes_and_of_small_ones_by_number() {
        let recent = |size: usize| {
            let member = Member { file: tempfile::tempfile().unwrap(), first: 0, compressed: 0, crc: 0, size: 0 };
            Deflated::new(member, 0, size, 1000).recent()
        };
        let threads = rayon::current_num_threads();
        assert_eq!((recent(0), recent(3072)), (RECENT, RECENT));
        assert_eq!(recent(12 << 20), 10.max(threads + 1));
        assert_eq!(recent(usize::MAX), threads + 1);
    }
}
