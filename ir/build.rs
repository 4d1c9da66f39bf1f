//! Compiles the schema of `.snn` files, without a system `protoc`.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// Numbers of `google.protobuf.FieldDescriptorProto.Type` and `.Label`.
const TYPE_STRING: i32 = 9;
const TYPE_MESSAGE: i32 = 11;
const TYPE_BYTES: i32 = 12;
const LABEL_REPEATED: i32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/file/snn.proto");
    let schema = protox::compile(["src/file/snn.proto"], ["src/file"])?;
    // What `wire.rs` looks fields up in: the schema's messages, each with its fields' numbers.
    let mut table = String::from("static SCHEMA: &[(&str, Fields)] = &[\n");
    for message in schema.file.iter().flat_map(|file| &file.message_type) {
        writeln!(table, "    ({:?}, &[", message.name())?;
        for field in &message.field {
            let kind = match (field.r#type, field.label == Some(LABEL_REPEATED)) {
                (Some(TYPE_MESSAGE), _) => format!("Field::Message({:?})", field.type_name().rsplit('.').next().unwrap_or_default()),
                (Some(TYPE_STRING), _) => "Field::Text".into(),
                (Some(TYPE_BYTES), _) => "Field::Data".into(),
                (_, false) => "Field::Number".into(),
                (_, true) => "Field::Numbers".into(),
            };
            writeln!(table, "        ({}, {:?}, {kind}),", field.number(), field.name())?;
        }
        table.push_str("    ]),\n");
    }
    table.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("snn_schema.rs"), table)?;
    // Tensor data stays a slice of the file's bytes instead of a copy.
    prost_build::Config::new().bytes(["."]).compile_fds(schema)?;
    Ok(())
}
