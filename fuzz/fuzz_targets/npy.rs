//! A `.npy` file of samples.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| snn_fuzz::dataset(bytes, ".npy"));
