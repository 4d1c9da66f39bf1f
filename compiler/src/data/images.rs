//! Image files and folders with one folder of images per class.

use super::preprocess::{MAX_PIXELS, Size};
use super::{ChannelOrder, Contents, DataError, Labels, Opened, Pixels};
use crate::files;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use std::borrow::Cow;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Bytes that colour profiles, texts and the like may take once they are decoded.
const METADATA: u64 = 16 << 20;
/// Most bytes of a decoded pixel: four 16-bit channels.
const PIXEL: u64 = 8;

/// Whether a file with these first bytes is an image of a known format.
pub(super) fn is_image(magic: &[u8]) -> bool {
    image::guess_format(magic).is_ok_and(|f| f.reading_enabled())
}

/// The image files among `paths`, by extension.
pub(super) fn image_files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let known = |p: &&PathBuf| image::ImageFormat::from_path(p).is_ok_and(|f| f.reading_enabled());
    paths.iter().filter(known).cloned().collect()
}

/// Opens class folders, sorted. The class is the folder's number if every name is a number, else its place in
/// alphabetical order. Samples take turns among the classes.
pub(super) fn open_folder(folders: &[PathBuf]) -> Result<Opened, DataError> {
    let numbers: Option<Vec<u32>> = folders.iter().map(|f| f.file_name()?.to_str()?.parse().ok()).collect();
    let mut ranked = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let label = numbers.as_ref().map_or(at as u32, |n| n[at]);
        let entries = std::fs::read_dir(folder).and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
        let mut files = image_files(&entries.map_err(|e| DataError::read(folder, e))?);
        files.sort();
        ranked.extend(files.into_iter().enumerate().map(|(rank, file)| (rank, label, file)));
    }
    ranked.sort();
    let (labels, files) = ranked.into_iter().map(|(_, label, file)| (label, file)).unzip();
    Ok((Contents::Images(files), Some(Labels::Classes(labels))))
}

/// The decoder of an image file, which has read its header and nothing else.
fn decoder(path: &Path) -> Result<impl ImageDecoder, DataError> {
    let file = files::open(path).map_err(|e| DataError::read(path, e))?;
    let length = file.metadata().map_err(|e| DataError::read(path, e))?.len();
    if length > MAX_PIXELS as u64 * PIXEL {
        // Some decoders read the file as a whole.
        return Err(DataError::format(path, format!("{length} bytes are too many for an image"), ""));
    }
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let mut reader = reader.map_err(|e| DataError::read(path, e))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(METADATA);
    reader.limits(limits);
    reader.into_decoder().map_err(|e| broken(path, &e))
}

fn broken(path: &Path, error: &image::ImageError) -> DataError {
    DataError::format(path, format!("the image cannot be decoded: {error}"), "")
}

fn size_of(decoder: &impl ImageDecoder) -> Size {
    let (width, height) = decoder.dimensions();
    let channels = if decoder.color_type().has_color() { 3 } else { 1 };
    Size { height: height as usize, width: width as usize, channels }
}

/// The size that an image file's header states; 3 channels if it has colours, else 1.
pub(super) fn size(path: &Path) -> Result<Size, DataError> {
    Ok(size_of(&decoder(path)?))
}

/// Decodes an image to 8 bits, RGB if it has colours, else grey; transparency is dropped. `accept` sees the size before
/// anything is decoded.
pub(super) fn decode(path: &Path, accept: impl FnOnce(Size) -> Result<(), DataError>) -> Result<Pixels<'static>, DataError> {
    let mut decoder = decoder(path)?;
    let size = size_of(&decoder);
    let bytes = decoder.total_bytes();
    accept(size)?;
    if bytes > MAX_PIXELS as u64 * PIXEL {
        let reason = format!("{}x{} pixels are more than the {MAX_PIXELS} that are read", size.height, size.width);
        return Err(DataError::format(path, reason, "make the image smaller"));
    }
    let mut limits = Limits::default();
    // Some decoders need the pixels twice.
    limits.max_alloc = Some(METADATA + 2 * bytes);
    let image = decoder.set_limits(limits).and_then(|()| DynamicImage::from_decoder(decoder)).map_err(|e| broken(path, &e))?;
    let data = if size.channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    Ok(Pixels { data: Cow::Owned(data), size, order: ChannelOrder::Last })
}
