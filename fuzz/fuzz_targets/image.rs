//! An image; the first byte says of which kind.
#![no_main]

use libfuzzer_sys::fuzz_target;

const ENDINGS: [&str; 6] = [".png", ".jpg", ".bmp", ".gif", ".tiff", ".webp"];

fuzz_target!(|bytes: &[u8]| {
    if let Some((&kind, bytes)) = bytes.split_first() {
        snn_fuzz::dataset(bytes, ENDINGS[usize::from(kind) % ENDINGS.len()]);
    }
});
