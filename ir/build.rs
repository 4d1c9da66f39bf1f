//! Compiles the schema of `.snn` files, without a system `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/file/snn.proto");
    let schema = protox::compile(["src/file/snn.proto"], ["src/file"])?;
    // Tensor data stays a slice of the file's bytes instead of a copy.
    prost_build::Config::new().bytes(["."]).compile_fds(schema)?;
    Ok(())
}
