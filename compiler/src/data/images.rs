//! Image files and folders with one folder of images per class.

use super::{ChannelOrder, DataError, Labels, Opened, Pixels, Samples};
use image::{ImageDecoder, ImageReader, Limits};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Largest expansion of a compressed image that is believed: deflate and JPEG's entropy code stay below it.
const MAX_EXPANSION: u64 = 2048;

/// Whether a file with these first bytes is an image of a known format.
pub(super) fn is_image(magic: &[u8]) -> bool {
    image::guess_format(magic).is_ok_and(|f| f.reading_enabled())
}

/// The image files among `paths`, by extension.
pub(super) fn image_files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let extension = |p: &PathBuf| p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let known = ["png", "jpg", "jpeg", "pnm", "ppm", "pgm", "pbm"];
    paths.iter().filter(|p| extension(p).is_some_and(|e| known.contains(&e.as_str()))).cloned().collect()
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
    Ok((Samples::Images(files), Some(Labels::Classes(labels))))
}

/// Decodes an image to 8 bits and `channels` channels: grey for 1, RGB for 3; transparency is dropped.
pub(super) fn decode(path: &Path, channels: usize) -> Result<Pixels<'static>, DataError> {
    let broken = |e: image::ImageError| DataError::format(path, format!("the image cannot be decoded: {e}"), "");
    let file_size = std::fs::metadata(path).map_err(|e| DataError::read(path, e))?.len();
    let bound = file_size.saturating_mul(MAX_EXPANSION).saturating_add(1 << 20);
    let mut limits = Limits::default();
    limits.max_alloc = Some(bound.saturating_mul(2));
    let mut reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(|e| DataError::read(path, e))?;
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    if decoder.total_bytes() > bound {
        let (width, height) = decoder.dimensions();
        return Err(DataError::format(path, format!("{width}x{height} pixels in {file_size} bytes are not believable"), ""));
    }
    let image = image::DynamicImage::from_decoder(decoder).map_err(broken)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let data = if channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    let channels = if channels == 1 { 1 } else { 3 };
    Ok(Pixels { data: Cow::Owned(data), height, width, channels, order: ChannelOrder::Last })
}
