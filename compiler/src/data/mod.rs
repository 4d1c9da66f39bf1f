//! Labelled samples from the files people have: npz and npy, images and folders of them, MNIST idx, CIFAR binary.
//!
//! A [`Dataset`] gives random access to raw samples; [`Dataset::input`] turns one into the network's input by a
//! [`Preprocessing`]. Samples are read and decoded when they are asked for, so that memory does not grow with their
//! number: one big array is as good as many small files. The order is fixed: arrays in their own order, image
//! folders one image of every class in turn, so that "the first N samples" is the same choice every time and, for image
//! folders, touches every class.
//!
//! Every file is untrusted: sizes in headers are checked against what the file holds and what the network takes before
//! anything is allocated, and only regular files are read, or standard input.

mod cifar;
mod feed;
mod idx;
mod images;
mod inflate;
pub mod npy;
pub mod npz;
pub mod preprocess;
mod samples;
pub mod statistics;
mod store;
#[cfg(test)]
mod tests;

pub use feed::Feed;
pub use samples::{Samples, SamplesError};

use crate::files;
use flate2::read::MultiGzDecoder;
use npy::NpyType;
use preprocess::Size;
use snn_ir::Preprocessing;
use snn_ir::signal::Dims;
use snn_ir::tensor::element_count;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use store::Store;
use thiserror::Error;

/// Why a data set could not be used.
#[derive(Debug, Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot read {path}")]
    Read {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is damaged or of a kind that is not read.
    #[error("{path}: {reason}")]
    Format {
        /// File or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do about it.
        help: String,
    },
    /// Samples do not fit the network's input.
    #[error("the network takes {expected}; {path} has samples of {got}")]
    Shape {
        /// File or folder.
        path: PathBuf,
        /// The network's input, in words.
        expected: String,
        /// The samples, in words.
        got: String,
        /// What to do about it.
        help: String,
    },
    /// What was read is no sample of the network.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// Preprocessing that does not fit the samples.
    #[error("{0}")]
    Preprocessing(String),
}

impl DataError {
    /// What the user can do about it, where there is something to say.
    pub fn help(&self) -> Option<String> {
        match self {
            DataError::Read { .. } | DataError::Samples(_) | DataError::Preprocessing(_) => None,
            DataError::Format { help, .. } | DataError::Shape { help, .. } => Some(help.clone()),
        }
        .filter(|h| !h.is_empty())
    }

    fn format(path: &Path, reason: impl Into<String>, help: impl Into<String>) -> Self {
        DataError::Format { path: path.into(), reason: reason.into(), help: help.into() }
    }

    fn read(path: &Path, source: io::Error) -> Self {
        DataError::Read { path: path.into(), source }
    }
}

/// Where the channels of an image are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Height, width, channel: image files, numpy.
    Last,
    /// Channel, height, width: CIFAR binary.
    First,
}

/// 8-bit pixels of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels<'a> {
    /// `height · width · channels` bytes.
    pub data: Cow<'a, [u8]>,
    /// Extents.
    pub size: Size,
    /// The channels' place.
    pub order: ChannelOrder,
}

/// What the samples are made of.
#[derive(Debug)]
enum Contents {
    /// Equally sized images.
    Pixels { store: Store, size: Size, order: ChannelOrder },
    /// Numbers.
    Values { store: Store, element: NpyType, shape: Vec<usize> },
    /// Image files.
    Images(Vec<PathBuf>),
}

/// What a data set says of its samples.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// A class index for each.
    Classes(Vec<u32>),
    /// Numbers: what a regression should answer, or class indices that only the network's shape tells.
    Values {
        /// Shape of one sample's.
        shape: Vec<usize>,
        /// Row-major elements, sample after sample.
        data: Vec<f32>,
    },
    /// What was not read, and why not: it matters only to who wants labels.
    Unread(String),
}

impl Labels {
    /// The labels in `bytes`, elements of `shape` for each sample: class indices where there is one for each, numbers,
    /// whose meaning depends on the network, elsewhere.
    fn from_elements(element: NpyType, shape: &[usize], bytes: &[u8]) -> Self {
        match element.to_labels(bytes).filter(|_| shape.iter().all(|&d| d == 1)) {
            Some(classes) => Labels::Classes(classes),
            None => Labels::Values { shape: shape.to_vec(), data: element.to_f32(bytes) },
        }
    }
}

/// Samples, with labels where the files have them.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    samples: Contents,
    labels: Option<Labels>,
    /// The samples in use: first and one past the last.
    range: std::ops::Range<usize>,
}

impl Dataset {
    /// Opens a file or folder, telling its kind from its content, or a file that comes from standard input (`-`).
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is of no kind that is known.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Dataset::open_members(path, &npz::Members::Samples(None))
    }

    /// [`Dataset::open`]; of an archive of arrays, those that are wanted.
    fn open_members(path: &Path, members: &npz::Members<'_>) -> Result<Self, DataError> {
        let opened = if path.is_dir() { open_folder(path)? } else { open_file(Source::named(path)?, members)? };
        Dataset::new(path, opened)
    }

    fn new(path: &Path, (samples, labels): Opened) -> Result<Self, DataError> {
        let count = match &samples {
            Contents::Pixels { store, .. } | Contents::Values { store, .. } => store.len(),
            Contents::Images(files) => files.len(),
        };
        if count == 0 {
            return Err(DataError::format(path, "there are no samples in it", KINDS));
        }
        Ok(Dataset { path: files::name(path).into(), samples, labels, range: 0..count })
    }

    /// Leaves out the first `skip` samples and keeps at most `limit` of the others.
    pub fn slice(mut self, skip: usize, limit: Option<usize>) -> Self {
        self.range.start = self.range.start.saturating_add(skip).min(self.range.end);
        if let Some(limit) = limit {
            self.range.end = self.range.end.min(self.range.start.saturating_add(limit));
        }
        self
    }

    /// File or folder it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none (left).
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Class index of every sample, if that is what labels are.
    pub fn labels(&self) -> Option<&[u32]> {
        match &self.labels {
            Some(Labels::Classes(classes)) => Some(&classes[self.range.clone()]),
            _ => None,
        }
    }

    /// The labels of the samples in use, if there are any.
    pub fn all_labels(&self) -> Option<Labels> {
        Some(match self.labels.as_ref()? {
            Labels::Classes(classes) => Labels::Classes(classes[self.range.clone()].to_vec()),
            Labels::Values { shape, data } => {
                let each = shape.iter().product::<usize>();
                let data = data[self.range.start * each..self.range.end * each].to_vec();
                Labels::Values { shape: shape.clone(), data }
            }
            Labels::Unread(reason) => Labels::Unread(reason.clone()),
        })
    }

    /// What a user should know about how samples become inputs of per-sample `shape`.
    ///
    /// # Errors
    /// When the header of an image cannot be read.
    pub fn note(&self, preprocessing: &Preprocessing, shape: &[usize]) -> Result<Option<String>, DataError> {
        let size = match &self.samples {
            Contents::Values { element, .. } if element.is_float() => return Ok(None),
            Contents::Values { element, .. } => {
                let (path, name) = (self.path.display(), element.name());
                let note = format!("{path} holds {name}, used as it is, in the network's own units; save pixels as uint8");
                return Ok(Some(note));
            }
            Contents::Pixels { size, .. } => *size,
            Contents::Images(files) => images::size(&files[self.range.start])?,
        };
        let fitted = preprocess::Target::new(shape, preprocessing.layout).fit(size, preprocessing);
        Ok(match (size.channels, fitted.map(|f| f.channels)) {
            (3, Ok(1)) => Some("the network takes grey images: colours are converted to brightness (ITU-R 601), as by Pillow".into()),
            (1, Ok(3)) => Some("the network takes colour images: grey ones are used for all three channels".into()),
            _ => None,
        })
    }

    /// Whether samples are numbers that preprocessing does not touch.
    pub fn is_preprocessed(&self) -> bool {
        matches!(self.samples, Contents::Values { .. })
    }

    /// Sample `index` as the input of per-sample `shape` of a network. Pixels are preprocessed, numbers are used as they
    /// are. Sizes are compared before anything is read.
    ///
    /// # Errors
    /// When the sample cannot be read or does not fit.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn input(&self, index: usize, preprocessing: &Preprocessing, shape: &[usize]) -> Result<Vec<f32>, DataError> {
        assert!(index < self.len(), "sample {index} of {}", self.len());
        let index = self.range.start + index;
        let target = preprocess::Target::new(shape, preprocessing.layout);
        let stored = |store: &'_ Store| store.sample(index).map(Cow::into_owned).map_err(|e| DataError::read(&self.path, e));
        let (pixels, path) = match &self.samples {
            Contents::Values { store, element, shape: got } => {
                self.check_shape(got, shape)?;
                return Ok(element.to_f32(&stored(store)?));
            }
            Contents::Pixels { store, size, order } => {
                target.fit(*size, preprocessing).map_err(|e| misfit(&self.path, e))?;
                (Pixels { data: stored(store)?.into(), size: *size, order: *order }, &self.path)
            }
            Contents::Images(files) => {
                let path = &files[index];
                let accept = |size| target.fit(size, preprocessing).map(drop).map_err(|e| misfit(path, e));
                (images::decode(path, accept)?, path)
            }
        };
        preprocess::pixels_to_input(pixels, preprocessing, &target).map_err(|e| misfit(path, e))
    }

    /// Whether numbers of the shape `got` are an input of `shape`: extents of one carry no information, [49, 10] fits
    /// [1, 49, 10]; and a vector of as many elements is the same in a row, or the input is.
    fn check_shape(&self, got: &[usize], shape: &[usize]) -> Result<(), DataError> {
        let (plain, wanted) = (without_ones(got), without_ones(shape));
        let vector = plain.len() <= 1 || wanted.len() <= 1;
        if plain == wanted || (vector && element_count(got) == element_count(shape)) {
            return Ok(());
        }
        let help = match (&plain[..], &wanted[..]) {
            (&[h, w, c], &[c2, h2, w2]) if [c, h, w] == [c2, h2, w2] => "the network takes channels first: np.transpose(x, (0, 3, 1, 2))",
            (&[c, h, w], &[h2, w2, c2]) if [c, h, w] == [c2, h2, w2] => "the network takes channels last: np.transpose(x, (0, 2, 3, 1))",
            _ => "numbers other than uint8 are used as they are, in the network's own layout",
        };
        Err(DataError::Shape { path: self.path.clone(), expected: Dims(shape).to_string(), got: Dims(got).to_string(), help: help.into() })
    }

    /// Samples that are read at the same time: as many as are read without reading anything twice.
    fn together(&self) -> usize {
        match &self.samples {
            Contents::Pixels { store, .. } | Contents::Values { store, .. } => store.together(),
            Contents::Images(_) => usize::MAX,
        }
    }
}

fn misfit(path: &Path, error: preprocess::Misfit) -> DataError {
    match error {
        preprocess::Misfit::Shape { expected, got, help } => DataError::Shape { path: path.into(), expected, got, help },
        preprocess::Misfit::Preprocessing(reason) => DataError::Preprocessing(reason),
    }
}

fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}

type Opened = (Contents, Option<Labels>);

const KINDS: &str = "data sets are .npz (x, y), .npy, images (PNG, JPEG, BMP, GIF, TIFF, WebP, PNM), a folder with one folder of images per class, \
                     MNIST idx (.gz, too), or CIFAR-10/100 binary";

const PICKLE: &str = "this is a Python pickle, as in CIFAR's \"python version\", which is not read";
const NO_PICKLE: &str =
    "download the \"binary version\", or save it as np.savez(\"cifar.npz\", x=d[b\"data\"].reshape(-1, 3, 32, 32), y=d[b\"labels\"])";

/// A file that is open at its first byte.
struct Source {
    path: PathBuf,
    file: File,
    /// Bytes it holds.
    length: u64,
    /// Whether the bytes are those of the file at `path`: not from standard input, not unpacked.
    named: bool,
}

impl Source {
    /// A regular file; one that is compressed by gzip is unpacked.
    fn open(path: &Path) -> Result<Self, DataError> {
        let read = |e| DataError::read(path, e);
        Source::new(path.into(), files::open(path).map_err(read)?, true).map_err(read)
    }

    /// As [`Source::open`]; `-` is standard input.
    fn named(path: &Path) -> Result<Self, DataError> {
        if files::is_standard(path) { Source::standard_input() } else { Source::open(path) }
    }

    /// The same bytes with a position of their own.
    fn again(&mut self) -> Result<Self, DataError> {
        if self.named {
            return Source::open(&self.path);
        }
        let copy = self.file.rewind().and_then(|()| files::to_file(&self.file));
        copy.and_then(|file| Source::new(self.path.clone(), file, false)).map_err(|e| DataError::read(&self.path, e))
    }

    fn standard_input() -> Result<Self, DataError> {
        let path = PathBuf::from(files::name(Path::new("-")));
        let file = files::standard_input().and_then(files::to_file);
        file.and_then(|file| Source::new(path.clone(), file, false)).map_err(|e| DataError::read(&path, e))
    }

    fn new(path: PathBuf, mut file: File, named: bool) -> io::Result<Self> {
        let packed = first_bytes(&mut file)?.starts_with(&[0x1f, 0x8b]);
        if packed {
            file = files::to_file(MultiGzDecoder::new(io::BufReader::new(file)))?;
        }
        let length = file.metadata()?.len();
        Ok(Source { path, file, length, named: named && !packed })
    }
}

/// What a file begins with, and the file at its first byte again.
fn first_bytes(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.by_ref().take(16).read_to_end(&mut bytes)?;
    file.rewind()?;
    Ok(bytes)
}

fn open_file(mut source: Source, members: &npz::Members<'_>) -> Result<Opened, DataError> {
    let magic = first_bytes(&mut source.file).map_err(|e| DataError::read(&source.path, e))?;
    let path = source.path.clone();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let refuse = |reason: &str, help: &str| Err(DataError::format(&path, reason, help));
    match &magic[..] {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => npz::open(source, members),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npz::open_npy(source),
        [0, 0, 8, 3, ..] => idx::open(source),
        [0, 0, 8, 1, ..] => refuse("this is an MNIST label file", "name the images file, or the folder of both"),
        // Records have no mark that tells them; what is compressed has lost its extension.
        _ if extension == "bin" || path.to_string_lossy().ends_with(".bin.gz") => cifar::open(vec![source]),
        magic if images::is_image(magic) => match source.named {
            true => Ok((Contents::Images(vec![path]), None)),
            false => refuse("an image can only be read from a file of its own", "unpack it, and name the file"),
        },
        [0x80, 2..=5, ..] => refuse(PICKLE, NO_PICKLE),
        _ if extension == "npz" => refuse("this is not a zip archive, as .npz files are", "is the file complete?"),
        [] => refuse("it is empty", KINDS),
        _ => refuse("no kind of data set that is known", KINDS),
    }
}

fn open_folder(path: &Path) -> Result<Opened, DataError> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| DataError::read(path, e))? {
        let entry = entry.map_err(|e| DataError::read(path, e))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            names.push(entry.path());
        }
    }
    names.sort();
    let of_kind = |keep: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        names.iter().filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(keep)).cloned().collect()
    };
    let idx = of_kind(&|n| n.contains("idx3-ubyte"));
    if !idx.is_empty() {
        // What was unpacked is there twice.
        let packed_only = |p: &&PathBuf| p.extension().is_none_or(|e| e != "gz") || !idx.contains(&p.with_extension(""));
        let idx: Vec<PathBuf> = idx.iter().filter(packed_only).cloned().collect();
        return idx::open(Source::open(only_one(path, &idx)?)?);
    }
    let cifar = of_kind(&|n| n.ends_with(".bin"));
    if !cifar.is_empty() {
        return cifar::open_folder(path, &cifar);
    }
    let folders: Vec<PathBuf> = names.iter().filter(|p| p.is_dir()).cloned().collect();
    if !folders.is_empty() {
        let (samples, labels) = images::open_folder(&folders)?;
        if matches!(&samples, Contents::Images(files) if files.is_empty()) {
            return Err(DataError::format(path, "there are no images in its folders", KINDS));
        }
        return Ok((samples, labels));
    }
    let files = images::image_files(&names);
    if !files.is_empty() {
        return Ok((Contents::Images(files), None));
    }
    let pickle = |p: &PathBuf| files::open(p).and_then(|mut f| first_bytes(&mut f)).is_ok_and(|b| matches!(b[..], [0x80, 2..=5, ..]));
    Err(match names.is_empty() {
        true => DataError::format(path, "the folder is empty", KINDS),
        false if names.iter().any(pickle) => DataError::format(path, PICKLE, NO_PICKLE),
        false => DataError::format(path, "no kind of data set that is known", KINDS),
    })
}

fn only_one<'a>(folder: &Path, files: &'a [PathBuf]) -> Result<&'a Path, DataError> {
    match files {
        [one] => Ok(one),
        many => {
            let names: Vec<String> = many.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned()).collect();
            Err(DataError::format(folder, format!("there are several data sets in it: {}", names.join(", ")), "name one of the files"))
        }
    }
}
