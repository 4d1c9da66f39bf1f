//! Labelled samples from the files people have: npz and npy, image folders, MNIST idx, CIFAR binary.
//!
//! A [`Dataset`] gives random access to raw samples; [`Dataset::input`] turns one into the network's input by a
//! [`Preprocessing`]. Samples are read and decoded when they are asked for, so that memory does not grow with their
//! number: one big array is as good as many small files. The order is fixed: arrays in their own order, image
//! folders one image of every class in turn, so that "the first N samples" is the same choice every time and, for image
//! folders, touches every class.
//!
//! Every file is untrusted: sizes in headers are checked against what the file holds before anything is allocated.

mod cifar;
mod feed;
mod idx;
mod images;
mod inflate;
pub mod npy;
pub mod npz;
pub mod preprocess;
pub mod statistics;
mod store;
#[cfg(test)]
mod tests;

pub use feed::Feed;

use npy::NpyType;
use snn_ir::Preprocessing;
use snn_ir::signal::Dims;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
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
    /// Preprocessing that does not fit the samples.
    #[error("{0}")]
    Preprocessing(String),
}

impl DataError {
    /// What the user can do about it, where there is something to say.
    pub fn help(&self) -> Option<String> {
        match self {
            DataError::Read { .. } | DataError::Preprocessing(_) => None,
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
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Their place.
    pub order: ChannelOrder,
}

/// One sample as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample<'a> {
    /// An image, to be preprocessed.
    Pixels(Pixels<'a>),
    /// Numbers in the network's own units and layout, used as they are.
    Values {
        /// Row-major elements.
        data: Vec<f32>,
        /// Per-sample shape.
        shape: &'a [usize],
    },
}

/// What the samples are made of.
#[derive(Debug)]
enum Samples {
    /// Equally sized images.
    Pixels { store: Store, height: usize, width: usize, channels: usize, order: ChannelOrder },
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
}

impl Labels {
    /// Number of samples, given that there are `samples`; that they are equally many is for the caller to see.
    fn count(&self, samples: usize) -> usize {
        match self {
            Labels::Classes(classes) => classes.len(),
            Labels::Values { shape, data } => data.len().checked_div(shape.iter().product()).unwrap_or(samples),
        }
    }
}

/// Samples, with labels where the files have them.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    samples: Samples,
    labels: Option<Labels>,
    /// The samples in use: first and one past the last.
    range: std::ops::Range<usize>,
}

impl Dataset {
    /// Opens a file or folder, telling its kind from its content.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is of no kind that is known.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Dataset::open_members(path, &npz::Members::Samples(None))
    }

    /// [`Dataset::open`]; of an archive of arrays, those that are wanted.
    fn open_members(path: &Path, members: &npz::Members<'_>) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|e| DataError::read(path, e))?;
        let (samples, labels) = if metadata.is_dir() { open_folder(path)? } else { open_file(path, members)? };
        let count = match &samples {
            Samples::Pixels { store, .. } | Samples::Values { store, .. } => store.len(),
            Samples::Images(files) => files.len(),
        };
        if count == 0 {
            return Err(DataError::format(path, "there are no samples in it", ""));
        }
        if let Some(labels) = &labels
            && labels.count(count) != count
        {
            let reason = format!("there are {count} samples but {} labels", labels.count(count));
            return Err(DataError::format(path, reason, "samples and labels must be equally many"));
        }
        Ok(Dataset { path: path.into(), samples, labels, range: 0..count })
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
        })
    }

    /// Whether samples are numbers that preprocessing does not touch.
    pub fn is_preprocessed(&self) -> bool {
        matches!(self.samples, Samples::Values { .. })
    }

    /// Sample `index` as it is stored; images come with `channels` channels (1 or 3).
    ///
    /// # Errors
    /// When an image cannot be read.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn sample(&self, index: usize, channels: usize) -> Result<Sample<'_>, DataError> {
        assert!(index < self.len(), "sample {index} of {}", self.len());
        let index = self.range.start + index;
        Ok(match &self.samples {
            Samples::Pixels { store, height, width, channels, order } => {
                let data = store.sample(index).map_err(|e| DataError::read(&self.path, e))?;
                Sample::Pixels(Pixels { data, height: *height, width: *width, channels: *channels, order: *order })
            }
            Samples::Values { store, element, shape } => {
                let bytes = store.sample(index).map_err(|e| DataError::read(&self.path, e))?;
                Sample::Values { data: element.to_f32(&bytes).expect("floats were opened as values"), shape }
            }
            Samples::Images(files) => Sample::Pixels(images::decode(&files[index], channels)?),
        })
    }

    /// Sample `index` as the input of per-sample `shape` of a network. Pixels are preprocessed, numbers are used as they
    /// are.
    ///
    /// # Errors
    /// When the sample cannot be read or does not fit.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn input(&self, index: usize, preprocessing: &Preprocessing, shape: &[usize]) -> Result<Vec<f32>, DataError> {
        let target = preprocess::Target::new(shape, preprocessing.layout);
        match self.sample(index, target.image_channels())? {
            Sample::Pixels(pixels) => preprocess::pixels_to_input(&pixels, preprocessing, &target).map_err(|e| self.misfit(index, e)),
            Sample::Values { data, shape: got } => {
                // Extents of one carry no information: [49, 10] fits [1, 49, 10].
                if without_ones(got) == without_ones(shape) {
                    return Ok(data);
                }
                Err(DataError::Shape {
                    path: self.path.clone(),
                    expected: Dims(shape).to_string(),
                    got: Dims(got).to_string(),
                    help: "float samples are used as they are, in the network's own layout".into(),
                })
            }
        }
    }

    fn misfit(&self, index: usize, error: preprocess::Misfit) -> DataError {
        let path = match &self.samples {
            Samples::Images(files) => &files[self.range.start + index],
            _ => &self.path,
        };
        match error {
            preprocess::Misfit::Shape { expected, got, help } => DataError::Shape { path: path.clone(), expected, got, help },
            preprocess::Misfit::Channels(reason) => DataError::Preprocessing(reason),
        }
    }
}

fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}

type Opened = (Samples, Option<Labels>);

const KINDS: &str =
    "data sets are .npz (x, y), .npy, PNG/JPEG/PNM images, a folder with one folder of images per class, MNIST idx, or CIFAR-10/100 binary";

fn open_file(path: &Path, members: &npz::Members<'_>) -> Result<Opened, DataError> {
    let mut magic = Vec::new();
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    file.take(16).read_to_end(&mut magic).map_err(|e| DataError::read(path, e))?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    match &magic[..] {
        [0x1f, 0x8b, ..] => Err(DataError::format(path, "this is a gzip file", "gunzip it first")),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => npz::open(path, members),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npz::open_npy(path),
        [0, 0, 8, 3, ..] => idx::open(path),
        [0, 0, 8, 1, ..] => Err(DataError::format(path, "this is an MNIST label file", "name the images file, or the folder of both")),
        _ if extension == "bin" => cifar::open(&[path.to_path_buf()]),
        magic if images::is_image(magic) => Ok((Samples::Images(vec![path.into()]), None)),
        _ if extension == "npz" => Err(DataError::format(path, "this is not a zip archive, as .npz files are", "is the file complete?")),
        _ => Err(DataError::format(path, "no kind of data set that is known", KINDS)),
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
        return idx::open(only_one(path, &idx)?);
    }
    let cifar = of_kind(&|n| n.ends_with(".bin"));
    if !cifar.is_empty() {
        return cifar::open_folder(path, &cifar);
    }
    let folders: Vec<PathBuf> = names.iter().filter(|p| p.is_dir()).cloned().collect();
    if !folders.is_empty() {
        return images::open_folder(&folders);
    }
    let files = images::image_files(&names);
    if files.is_empty() {
        return Err(DataError::format(path, "no kind of data set that is known", KINDS));
    }
    Ok((Samples::Images(files), None))
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
