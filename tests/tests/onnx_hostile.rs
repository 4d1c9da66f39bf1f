//! Broken and hostile models: an error, never a panic, a hang or a large allocation.

use prost::Message;
use snn_ir::Random;
use snn_tests::onnx::{Onnx, float, int, ints, noise, tensor};
use snn_tests::shared::{onnx_files, root, shared};
use snnc::frontend::onnx::model::Model;
use snnc::frontend::onnx::{ImportOptions, import, import_model};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};

fn small() -> Onnx {
    Onnx::new(13)
        .input("x", &[-1, 2, 8, 8])
        .weight("w", &[4, 2, 3, 3])
        .weight("k", &[4, 10])
        .floats("g", &[4], &[1.0; 4])
        .list("t", &[0, -1])
        .list("starts", &[0])
        .list("ends", &[2])
        .node("Conv", "x w", "c", &[ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])])
        .node("BatchNormalization", "c g g g g", "n", &[float("epsilon", 1e-3)])
        .node("Relu", "n", "r", &[])
        .node("MaxPool", "r", "p", &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        .node("Slice", "p starts ends", "q", &[])
        .node("GlobalAveragePool", "q", "a", &[])
        .node("Reshape", "a t", "f", &[])
        .node("Gemm", "f k", "s", &[])
        .node("Softmax", "s", "y", &[int("axis", 1)])
        .output("y")
}

/// Tests that look at the process's memory run alone.
static ALONE: Mutex<()> = Mutex::new(());

fn attempt(bytes: &[u8]) -> Result<(), String> {
    let model = Model::decode(Path::new("hostile.onnx"), bytes).map_err(|e| e.to_string())?;
    import_model(&model, &ImportOptions::default()).map(|_| ()).map_err(|e| e.to_string())
}

/// Largest memory the process ever had, in bytes, from Linux's own account.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}

#[test]
fn every_prefix_of_a_file_is_refused() {
    let _alone = ALONE.lock();
    let bytes = small().bytes();
    assert_eq!(attempt(&bytes), Ok(()));
    for length in 0..bytes.len() {
        assert!(attempt(&bytes[..length]).is_err(), "{length} of {} bytes are accepted", bytes.len());
    }
}

#[test]
fn flipped_bits_never_panic_and_never_take_much_memory() {
    let _alone = ALONE.lock();
    let own = std::fs::read(root().join("models/digits/digits.onnx")).expect("the project's own model");
    let base = peak();
    let mut random = Random::new(1);
    for (file, count) in [(small().bytes(), 20_000), (own.clone(), 2_000)] {
        for _ in 0..count {
            let mut bytes = file.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            let _ = attempt(&bytes);
        }
    }
    if let (Some(before), Some(after)) = (base, peak()) {
        assert!(after - before < 2 * own.len() + (64 << 20), "{} MiB", (after - before) >> 20);
    }
}

/// Changes a model at random, within what protobuf can say.
fn mutate(graph: &mut GraphProto, random: &mut Random) {
    let (n, m) = (graph.node.len().max(1), graph.initializer.len().max(1));
    let (a, b, i) = (random.below(n), random.below(n), random.below(m));
    let odd = [i64::MIN, -1 << 40, -2, -1, 0, 1, 2, 7, 1 << 22, 1 << 31, 1 << 40, i64::MAX][random.below(12)];
    let kind = random.below(9);
    let (Some(other), Some(initializer)) = (graph.node.get(b).cloned(), graph.initializer.get_mut(i)) else { return };
    let other_tensor = initializer.name.clone();
    match kind {
        0 => initializer.int64_data.iter_mut().for_each(|v| *v = odd),
        1 => {
            let axes = initializer.dims.len();
            initializer.dims.iter_mut().take(random.below(axes.max(1)) + 1).for_each(|d| *d = odd);
        }
        2 => graph.node[a].op_type = other.op_type,
        3 => graph.node[a].attribute = other.attribute,
        4 => graph.node[a].input = other.input,
        5 => graph.node[a].attribute.iter_mut().for_each(|x| x.ints.iter_mut().for_each(|v| *v = odd)),
        6 => graph.node[a].attribute.iter_mut().for_each(|x| x.i = odd),
        7 => graph.node[a].input.iter_mut().take(2).for_each(|x| *x = other_tensor.clone()),
        _ => {
            let names = snnc::frontend::onnx::registry::FAMILIES.iter().flat_map(|f| f.1).map(|s| s.name);
            let all: Vec<&str> = names.collect();
            graph.node[a].op_type = all[random.below(all.len())].into();
        }
    }
}

#[test]
fn mutated_structure_never_panics() {
    let _alone = ALONE.lock();
    let mut random = Random::new(7);
    for _ in 0..20_000 {
        let mut model = small();
        for _ in 0..=random.below(3) {
            mutate(model.graph(), &mut random);
        }
        let _ = attempt(&model.bytes());
    }
}

/// `SNNC_FUZZ_SECONDS` says for how long; `cargo test --release -p snn-tests --test onnx_hostile -- --ignored`.
#[test]
#[ignore = "runs for minutes"]
fn mutations_of_real_files_never_panic_and_never_take_long_or_much() {
    let _alone = ALONE.lock();
    let seconds = std::env::var("SNNC_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let folders = [Some(root().join("models/digits")), shared("models"), shared("models/wild")];
    let files = folders.into_iter().flatten().flat_map(|f| onnx_files(&f));
    let corpus: Vec<Vec<u8>> = files.filter_map(|f| std::fs::read(f).ok()).filter(|f| f.len() < 400_000).chain([small().bytes()]).collect();
    let largest = corpus.iter().map(Vec::len).max().unwrap_or(0);
    let (start, base) = (Instant::now(), peak());
    let (mut random, mut count, mut slowest) = (Random::new(seconds), 0u64, Duration::ZERO);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slowest.onnx");
    while start.elapsed() < Duration::from_secs(seconds) {
        let original = &corpus[random.below(corpus.len())];
        let mut bytes = original.clone();
        if let (0..4, Ok(mut proto)) = (random.below(5), ModelProto::decode(&bytes[..])) {
            for _ in 0..=random.below(4) {
                mutate(proto.graph.get_or_insert_default(), &mut random);
            }
            bytes = proto.encode_to_vec();
        } else {
            for _ in 0..=random.below(9) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
        let one = Instant::now();
        let _ = attempt(&bytes);
        if one.elapsed() > slowest {
            slowest = one.elapsed();
            std::fs::write(&kept, &bytes).expect("the build folder is there");
        }
        count += 1;
    }
    println!("{count} models; the slowest, {}, took {slowest:?}", kept.display());
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
    if let (Some(before), Some(after)) = (base, peak()) {
        // A mutation may be a valid network of repeated constants, which are bounded on their own.
        assert!(after - before < 2 * largest + (1 << 30), "{} MiB", (after - before) >> 20);
        println!("{} MiB at most", (after - before) >> 20);
    }
}

#[test]
fn repeated_constants_do_not_multiply_memory() {
    let _alone = ALONE.lock();
    let before = peak();
    let mut model = Onnx::new(13).input("x0", &[1, 1 << 13]).list("s", &[1 << 13, 1 << 13]).node("ConstantOfShape", "s", "c", &[]);
    for i in 0..40 {
        model = model.node("MatMul", &format!("x{i} c"), &format!("x{}", i + 1), &[]);
    }
    let message = attempt(&model.output("x40").bytes()).expect_err("forty matrices of 256 MiB");
    assert!(message.contains("repeated to too many elements"), "{message}");
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before < 900 << 20, "{} MiB", (after - before) >> 20);
    }
}

#[test]
fn external_data_behind_a_link_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (inside, secret) = (folder.path().join("model"), folder.path().join("secret"));
    std::fs::create_dir(&inside).expect("a folder");
    std::fs::write(&secret, [0; 16]).expect("a file");
    std::os::unix::fs::symlink(&secret, inside.join("data.bin")).expect("a link");
    let external_data = vec![StringStringEntryProto { key: "location".into(), value: "data.bin".into() }];
    let tensor = TensorProto { data_location: Some(1), external_data, ..tensor("c", &[4], &[]) };
    let model = Onnx::new(13).input("x", &[1, 4]).initializer(tensor).node("Add", "x c", "y", &[]).output("y");
    let path = inside.join("model.onnx");
    std::fs::write(&path, model.bytes()).expect("a file");
    let message = import(&path, &ImportOptions::default()).expect_err("the link leads out").to_string();
    assert!(message.contains("a link that leads out of the model's folder"), "{message}");
}

#[test]
fn absurd_models_are_refused_with_a_reason() {
    let _alone = ALONE.lock();
    let x = || Onnx::new(13).input("x", &[1, 4]);
    let relu = || x().node("Relu", "x", "y", &[]).output("y");
    let with_constant = |t: TensorProto| x().initializer(t).node("Add", "x c", "y", &[]).output("y");
    let huge = TensorProto { dims: vec![1 << 40], raw_data: vec![0; 16], ..tensor("c", &[], &[]) };
    let mut nested = GraphProto::default();
    for _ in 0..90 {
        let attribute = vec![AttributeProto { name: "body".into(), g: Some(nested), ..AttributeProto::default() }];
        nested = GraphProto { node: vec![NodeProto { op_type: "If".into(), attribute, ..NodeProto::default() }], ..GraphProto::default() };
    }
    let mut deep = relu();
    deep.graph().node[0].attribute.push(AttributeProto { name: "body".into(), g: Some(nested), ..AttributeProto::default() });
    let external = |location: &str| {
        let external_data = vec![StringStringEntryProto { key: "location".into(), value: location.into() }];
        with_constant(TensorProto { data_location: Some(1), external_data, ..tensor("c", &[4], &[]) })
    };
    let cases = [
        ("a cycle", x().node("Add", "x b", "a", &[]).node("Relu", "a", "b", &[]).output("b"), "depends on itself"),
        ("a missing input", x().node("Add", "x nowhere", "y", &[]).output("y"), "reads `nowhere`"),
        ("a missing output", x().node("Relu", "x", "y", &[]).output("z"), "output `z` is not defined"),
        ("no outputs", x().node("Relu", "x", "y", &[]), "no outputs"),
        ("a name defined twice", x().node("Relu", "x", "y", &[]).node("Tanh", "x", "y", &[]).output("y"), "defined twice"),
        ("two inputs of one name", relu().input("x", &[1, 4]), "two inputs named `x`"),
        (
            "two initializers of one name",
            x().weight("c", &[4]).weight("c", &[4]).node("Add", "x c", "y", &[]).output("y"),
            "two initializers",
        ),
        ("a tensor of 2^40 elements", with_constant(huge), "holds 16 bytes"),
        ("a negative extent", with_constant(tensor("c", &[-4], &noise(4))), "impossible shape"),
        ("a tensor without elements", with_constant(tensor("c", &[0], &[])), "do not broadcast"),
        ("a weight that is not a number", with_constant(tensor("c", &[4], &[0.0, f32::NAN, 0.0, 1.0])), "is NaN"),
        ("an infinite weight", with_constant(tensor("c", &[4], &[0.0, f32::INFINITY, 0.0, 1.0])), "is inf"),
        ("an input of 2^40 elements", Onnx::new(13).input("x", &[1, 1 << 40]).node("Relu", "x", "y", &[]).output("y"), "too many"),
        ("an input of negative extent", Onnx::new(13).input("x", &[1, -1]).node("Relu", "x", "y", &[]).output("y"), "extents are open"),
        ("a batch-norm of no channels", batch_norm(&[], &[0]), "elements where"),
        ("a variance that is not a number", batch_norm(&[1.0, f32::NAN, 1.0, 1.0], &[4]), "is NaN"),
        ("a node that reads its own output", x().node("Add", "x y", "y", &[]).output("y"), "depends on itself"),
        ("an input named like a result", x().node("Relu", "x", "x", &[]).output("x"), "defined twice"),
        ("a branch that leads nowhere", x().initializer(truth("c")).node("If", "c", "y", &[]).output("y"), "its then_branch is missing"),
        ("a branch inside itself", nested_choice(20), "nested too deeply"),
        ("an input without elements", Onnx::new(13).input("x", &[1, 0]).node("Relu", "x", "y", &[]).output("y"), "an extent is 0"),
        ("open extents", Onnx::new(13).input("x", &[1, -1]).node("Relu", "x", "y", &[]).output("y"), "--input-shape"),
        ("an expansion to 2^40", x().list("s", &[1 << 20, 1 << 20, 1, 4]).node("Expand", "x s", "y", &[]).output("y"), "too large"),
        (
            "a constant of 2^60",
            x().list("s", &[1 << 30, 1 << 30]).node("ConstantOfShape", "s", "c", &[]).node("MatMul", "x c", "y", &[]).output("y"),
            "too many elements",
        ),
        ("a tiling of 2^40", x().list("r", &[1, 1 << 40]).node("Tile", "x r", "y", &[]).output("y"), "repeats is"),
        (
            "a range of 2^40",
            x().list("a", &[0])
                .list("b", &[1 << 40])
                .list("d", &[1])
                .node("Range", "a b d", "c", &[])
                .node("Add", "x c", "y", &[])
                .output("y"),
            "elements",
        ),
        ("a stride of 0", small_conv(&[ints("strides", &[0, 1])]), "must be positive"),
        ("a padding of 2^62", small_conv(&[ints("pads", &[1 << 62, 0, 0, 0])]), "pads is"),
        ("a dilation of 2^31", small_conv(&[ints("dilations", &[1 << 31, 1])]), "does not fit"),
        ("groups of 0", small_conv(&[int("group", 0)]), "groups"),
        ("nested graphs", deep, ""),
        ("data outside of the folder", external("../secret"), "out of the model's folder"),
        ("data at an absolute path", external("/etc/hostname"), "out of the model's folder"),
        ("data that is not there", external("missing.bin"), "missing.bin"),
        ("no graph", Onnx::default(), "no graph"),
        ("an opset of the distant past", Onnx::new(3).input("x", &[1, 4]).node("Relu", "x", "y", &[]).output("y"), "older than 7"),
    ];
    for (what, model, reason) in cases {
        match attempt(&model.bytes()) {
            Ok(()) => assert!(reason.is_empty(), "{what} is accepted"),
            Err(message) => assert!(message.contains(reason), "{what}: {message}"),
        }
    }
}

fn batch_norm(variance: &[f32], dims: &[i64]) -> Onnx {
    let model = Onnx::new(13).input("x", &[1, 4, 2, 2]).floats("g", &[4], &[1.0; 4]).floats("v", dims, variance);
    model.node("BatchNormalization", "x g g g v", "y", &[]).output("y")
}

fn truth(name: &str) -> TensorProto {
    TensorProto { data_type: 9, int32_data: vec![1], float_data: Vec::new(), ..tensor(name, &[], &[0.0]) }
}

/// If nodes in each other's branches.
fn nested_choice(depth: usize) -> Onnx {
    let mut inner = Onnx::new(13).node("Relu", "x", "r0", &[]).output("r0");
    for i in 1..=depth {
        let attribute = AttributeProto { name: "then_branch".into(), g: Some(inner.graph().clone()), ..AttributeProto::default() };
        let name = format!("r{i}");
        inner = Onnx::new(13).node("If", "c", &name, &[attribute]).output(&name);
    }
    inner.input("x", &[1, 4]).initializer(truth("c"))
}

fn small_conv(attributes: &[AttributeProto]) -> Onnx {
    Onnx::new(13).input("x", &[1, 2, 8, 8]).weight("w", &[4, 2, 3, 3]).node("Conv", "x w", "y", attributes).output("y")
}

#[test]
fn a_file_that_is_not_there_or_no_model_says_so() {
    let missing = import(Path::new("/nowhere/model.onnx"), &ImportOptions::default()).expect_err("there is no such file");
    assert!(missing.to_string().contains("cannot read /nowhere/model.onnx"));
    let text = attempt(b"this is not a model").expect_err("text is no model");
    assert!(text.contains("is not an ONNX model"), "{text}");
    let options = ImportOptions { input_shape: Some(vec![1, 5]) };
    let model = Model::decode(Path::new("m.onnx"), &Onnx::new(13).input("x", &[1, 4]).node("Relu", "x", "y", &[]).output("y").bytes());
    let clash = import_model(&model.expect("a model"), &options).expect_err("the shape is another");
    assert!(clash.to_string().contains("the given input shape 1x5 does not fit"), "{clash}");
}

#[test]
fn towers_of_scalar_steps_are_refused_and_not_evaluated_over_and_over() {
    let tower = |op: &str, steps: usize, inputs: usize| {
        let mut model = Onnx::new(13).input("x0", &[1, 4]);
        for i in 0..steps {
            model = model.node(op, &vec![format!("x{i}"); inputs].join(" "), &format!("x{}", i + 1), &[]);
        }
        model.output(&format!("x{steps}"))
    };
    for (op, steps, inputs) in [("Mul", 60, 2), ("Exp", 3000, 1), ("Pow", 60, 2)] {
        let message = attempt(&tower(op, steps, inputs).bytes()).expect_err(op);
        assert!(message.contains("`x1`") && message.contains(op), "{message}");
    }
    // Sums of a value with itself are linear, and their compilation is, too.
    let model = tower("Add", 100, 2).node("Relu", "x100", "y", &[]);
    assert_eq!(attempt(&model.bytes()), Ok(()));
    let mut graph = model.import().expect("sums convert").graph;
    let canonicalize = snnc::recipe::Recipe::parse("name: one\npasses:\n  - canonicalize\n", "test").expect("a recipe").passes;
    let request = snnc::passes::Request::new(1);
    snnc::passes::pipeline::run(&mut graph, canonicalize.iter().map(|p| p.as_pass()), &request, |_, _, _| Ok(())).expect("it runs");
}

#[test]
fn operations_that_make_much_of_little_are_refused_before_anything_is_allocated() {
    let _alone = ALONE.lock();
    let before = peak();
    let image = || Onnx::new(13).input("x", &[1, 1, 2, 2]);
    let kernel = |n: i64| ints("kernel_shape", &[n, n]);
    let around = |n: i64| ints("pads", &[n, n, n, n]);
    let models = [
        Onnx::new(13).input("x", &[1, 1 << 31]).node("Relu", "x", "y", &[]),
        Onnx::new(13).input("x", &[1, 1 << 28]).node("Relu", "x", "y", &[]),
        image().list("p", &[0, 0, 0, 0, 0, 0, 1 << 14, 1 << 14]).node("Pad", "x p", "y", &[]),
        image().node("AveragePool", "x", "y", &[kernel(1 << 14), around((1 << 14) - 1)]),
        image().node("AveragePool", "x", "y", &[kernel(1 << 14), around(1 << 13)]),
        image().node("MaxPool", "x", "y", &[kernel(1 << 13), around((1 << 13) - 1)]),
        image().floats("s", &[4], &[1.0, 1.0, 6000.0, 6000.0]).node("Resize", "x _ s", "y", &[snn_tests::onnx::string("mode", "linear")]),
        image().list("t", &[1, 1, 1 << 13, 1 << 13]).node("Tile", "x t", "y", &[]),
        image().weight("w", &[1, 1, 1, 1]).node("ConvTranspose", "x w", "y", &[ints("strides", &[1 << 14, 1 << 14])]),
        image().weight("w", &[1, 1, 1, 1]).node("Conv", "x w", "y", &[around(1 << 14), ints("strides", &[1 << 13, 1 << 13])]),
        image().node("Sum", &["x"; 100_000].join(" "), "y", &[]),
        image().node("Concat", &["x"; 100_000].join(" "), "y", &[int("axis", 1)]),
    ];
    for model in models {
        let op = model.0.graph.as_ref().expect("a graph").node[0].op_type.clone();
        let message = attempt(&model.output("y").bytes()).expect_err(&op);
        let says_the_limit = ["at most", "the most", "elements"].iter().any(|words| message.contains(words));
        assert!(says_the_limit, "{op}: {message}");
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before < 256 << 20, "{} MiB", (after - before) >> 20);
    }
}

#[test]
fn functions_do_not_multiply_their_constants_and_names() {
    let _alone = ALONE.lock();
    let before = peak();
    for (elements, name) in [(20_000, "n".to_string()), (1, "n".repeat(20_000))] {
        let data = AttributeProto {
            name: "value".into(),
            r#type: 4,
            t: Some(tensor("", &[elements], &vec![0.0; elements as usize])),
            ..Default::default()
        };
        let node = |op: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
            op_type: op.into(),
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            attribute,
            ..NodeProto::default()
        };
        let function = tract_onnx::pb::FunctionProto {
            name: Some("F".into()),
            domain: Some("f".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: vec![node("Constant", &[], &name, vec![data]), node("Relu", &["a"], "b", vec![])],
            ..Default::default()
        };
        let mut model = Onnx::new(13).input("x0", &[1, 4]);
        for i in 0..30_000 {
            model = model.node("F", &format!("x{i}"), &format!("x{}", i + 1), &[]);
        }
        model.graph().node.iter_mut().for_each(|n| n.domain = "f".into());
        model.0.functions.push(function);
        let message = attempt(&model.output("x30000").bytes()).expect_err("gigabytes");
        assert!(message.contains("MiB"), "{message}");
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before < 256 << 20, "{} MiB", (after - before) >> 20);
    }
}

/// A tensor whose data is said to be in the file `location`.
fn external(location: &str) -> TensorProto {
    let external_data = vec![StringStringEntryProto { key: "location".into(), value: location.into() }];
    TensorProto { data_location: Some(1), external_data, ..tensor("c", &[4], &[]) }
}

#[test]
fn a_tensor_nobody_reads_whose_data_lies_outside_of_the_models_folder_is_an_error() {
    for location in ["/etc/passwd", "../secret", "/dev/zero"] {
        let model = Onnx::new(13).input("x", &[1, 4]).initializer(external(location)).node("Relu", "x", "y", &[]).output("y");
        let message = attempt(&model.bytes()).expect_err(location);
        assert!(message.contains("tensor `c`") && message.contains("out of the model's folder"), "{message}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_model_or_of_its_data_is_refused_without_waiting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("data.bin");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    assert!(import(&pipe, &ImportOptions::default()).expect_err("a pipe").to_string().contains("a pipe or a device"));
    assert!(import(Path::new("/dev/zero"), &ImportOptions::default()).expect_err("a device").to_string().contains("a pipe or a device"));
    for read in [true, false] {
        let model = Onnx::new(13).input("x", &[1, 4]).initializer(external("data.bin"));
        let model = if read { model.node("Add", "x c", "y", &[]) } else { model.node("Relu", "x", "y", &[]) };
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, model.output("y").bytes()).expect("a file");
        let message = import(&path, &ImportOptions::default()).expect_err("a pipe").to_string();
        assert!(message.contains("tensor `c`") && message.contains("not a file"), "{message}");
    }
}

#[test]
fn weights_that_overflow_are_named_and_no_pass_is_blamed() {
    let model = Onnx::new(13)
        .input("x", &[1, 4])
        .floats("w", &[4, 4], &[3e38; 16])
        .weight("v", &[4, 2])
        .node("MatMul", "x w", "a", &[])
        .named("huge")
        .node("Relu", "a", "r", &[])
        .node("MatMul", "r v", "y", &[])
        .output("y");
    let graph = model.import().expect("the weights are finite").graph;
    let compiled = snnc::Compiler::new(&graph).timesteps(8).compile();
    let error = compiled.map(|_| ()).expect_err("its values are infinite").to_string();
    assert!(error.contains("`huge`") && error.contains("infinite") && !error.contains("bug"), "{error}");
}
