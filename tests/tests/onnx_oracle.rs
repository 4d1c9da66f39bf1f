//! Where tract does not compute what ONNX says. Expected values are the specification's and onnxruntime's (1.32).

use snn_runtime::analog::AnalogNetwork;
use snn_tests::onnx::{Onnx, float, int, ints, string, tensor};
use snnc::frontend::onnx::check::difference;
use snnc::frontend::onnx::{Checked, ImportOptions, Imported, check_import, import};
use tract_onnx::pb::TensorProto;

/// What comparing the model with tract gives, and the import.
fn checked(model: &Onnx) -> (Imported, Checked) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("test.onnx");
    std::fs::write(&path, model.bytes()).expect("the temporary folder can be written");
    let imported = import(&path, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let checked = check_import(&path, &imported).unwrap_or_else(|e| panic!("{e}"));
    (imported, checked)
}

fn assert_computes(imported: &Imported, x: &[f32], expected: &[f32]) {
    let got = AnalogNetwork::new(&imported.graph).expect("it runs").run(&[x], &mut |_, _| {}).swap_remove(0);
    assert!(difference(expected, &got) < 1e-5, "expected {expected:?}, got {got:?}");
}

const X: [f32; 6] = [-3.0, -1.0, -0.25, 0.0, 0.5, 2.0];

#[test]
fn known_faults_of_tract_are_noted_and_the_import_computes_what_onnx_says() {
    let x = |opset| Onnx::new(opset).input("x", &[1, 6]);
    let cases = [
        (x(13).node("Celu", "x", "y", &[float("alpha", 2.0)]), vec![-1.553_739_7, -0.786_938_67, -0.235_006_21, 0.0, 0.5, 2.0]),
        (x(11).node("ReduceMax", "x", "y", &[ints("axes", &[]), int("keepdims", 0)]), vec![2.0]),
        (x(11).node("ReduceMin", "x", "y", &[ints("axes", &[]), int("keepdims", 0)]), vec![-3.0]),
        (x(11).node("ReduceMean", "x", "y", &[ints("axes", &[]), int("keepdims", 0)]), vec![-0.291_666_66]),
        (x(11).node("ReduceSum", "x", "y", &[ints("axes", &[]), int("keepdims", 0)]), vec![-1.75]),
        (x(11).node("ReduceL1", "x", "y", &[ints("axes", &[]), int("keepdims", 0)]), vec![6.75]),
    ];
    let image = |opset| Onnx::new(opset).input("x", &[1, 1, 1, 6]);
    let outside = [string("coordinate_transformation_mode", "pytorch_half_pixel"), string("mode", "cubic")];
    let more = [
        (image(13).node("GlobalLpPool", "x", "y", &[int("p", 1)]), vec![6.75]),
        (
            image(13).floats("s", &[4], &[1.0, 1.0, 1.0, 0.2]).node("Resize", "x _ s", "y", &outside),
            // The kernel at position 0 is 1 on the first element and 0 on the others.
            vec![-3.0],
        ),
        (
            image(13).floats("w", &[1, 1, 1, 2], &[1.0, 1.0]).node("ConvTranspose", "x w", "y", &[ints("output_shape", &[1, 6])]),
            // The first of seven sums is cut off.
            vec![-4.0, -1.25, -0.25, 0.5, 2.5, 2.0],
        ),
        (image(10).floats("s", &[4], &[1.0, 1.0, 1.0, 0.75]).node("Resize", "x s", "y", &[]), vec![-3.0, -0.25, 0.0, 0.5]),
    ];
    for (model, expected) in cases.into_iter().chain(more) {
        let op = model.0.graph.as_ref().expect("a graph").node[0].op_type.clone();
        let (imported, checked) = checked(&model.output("y"));
        assert!(checked.notes.iter().any(|n| n.contains(&op) && n.contains("snnc is right")), "{op}: {:?}", checked.notes);
        assert_computes(&imported, &X, &expected);
    }
}

#[test]
fn a_reduction_without_axes_that_is_told_to_do_nothing_does_nothing() {
    let model = |op: &str| {
        let x = Onnx::new(18).input("x", &[1, 6]).list("none", &[]);
        x.node(op, "x none", "y", &[int("noop_with_empty_axes", 1), int("keepdims", 0)]).output("y")
    };
    for op in ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean"] {
        assert_computes(&checked(&model(op)).0, &X, &X);
    }
    assert_computes(&checked(&model("ReduceL1")).0, &X, &X.map(f32::abs));
}

#[test]
fn what_precedes_a_known_fault_is_compared_all_the_same() {
    let model = Onnx::new(13).input("x", &[1, 4]).weight("w", &[4, 4]).node("MatMul", "x w", "a", &[]).named("first");
    let model = model.node("Celu", "a", "b", &[float("alpha", 2.0)]).node("Neg", "b", "y", &[]).output("y");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.bytes()).expect("the folder can be written");
    let mut imported = model.import().expect("it imports");
    assert_eq!(check_import(&path, &imported).expect("the fault is known").notes.len(), 1);
    let first = imported.graph.find("first").expect("it keeps its name");
    imported.graph.set_op(first, snn_ir::Op::Reshape { shape: vec![4] }).expect("it has four elements");
    let error = check_import(&path, &imported).expect_err("the product is gone").to_string();
    assert!(error.contains("node `first`") && error.contains("tract computes") && error.contains("snnc"), "{error}");
}

#[test]
fn the_resize_of_older_exporters_takes_the_pixels_that_onnxruntime_takes() {
    let resized = |opset: i64, scale: f32, attributes: &[_]| {
        let model = Onnx::new(opset).input("x", &[1, 1, 1, 4]).floats("none", &[0], &[]).floats("s", &[4], &[1.0, 1.0, 1.0, scale]);
        let inputs = if opset == 10 { "x s" } else { "x none s" };
        model.node("Resize", inputs, "y", attributes).output("y").import().unwrap_or_else(|e| panic!("{e}"))
    };
    let x = [1.0, 2.0, 3.0, 4.0];
    let tf = |nearest: &str| [string("coordinate_transformation_mode", "tf_half_pixel_for_nn"), string("nearest_mode", nearest)];
    assert_computes(&resized(11, 2.0, &tf("floor")), &x, &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    assert_computes(&resized(11, 1.5, &tf("floor")), &x, &[1.0, 2.0, 2.0, 3.0, 4.0, 4.0]);
    assert_computes(&resized(11, 0.75, &tf("floor")), &x, &[1.0, 3.0, 4.0]);
    assert_computes(&resized(11, 2.0, &tf("round_prefer_floor")), &x, &[1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
    assert_computes(&resized(11, 0.75, &tf("round_prefer_ceil")), &x, &[2.0, 3.0, 4.0]);
    let linear = [string("coordinate_transformation_mode", "tf_half_pixel_for_nn"), string("mode", "linear")];
    assert_computes(&resized(11, 2.0, &linear), &x, &[1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.0, 4.0]);
    // Opset 10 has no nearest_mode: down where an axis grows, up where it shrinks.
    assert_computes(&resized(10, 1.5, &[]), &x, &[1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
    assert_computes(&resized(10, 0.75, &[]), &x, &[1.0, 3.0, 4.0]);
}

#[test]
fn an_unrolled_recurrent_network_with_a_zero_state_converts() {
    let value = Some(tensor("", &[1], &[0.0]));
    let zero = tract_onnx::pb::AttributeProto { name: "value".into(), r#type: 4, t: value, ..Default::default() };
    let mut model = Onnx::new(13).input("x", &[1, 3, 4]).weight("w", &[4, 6]).weight("r", &[6, 6]).weight("b", &[6]).weight("o", &[6, 2]);
    model = model.list("size", &[1, 6]).node("ConstantOfShape", "size", "h0", &[zero]);
    for t in 0..3 {
        let index = TensorProto { name: format!("i{t}"), data_type: 7, int64_data: vec![t], ..TensorProto::default() };
        model = model
            .initializer(index)
            .node("Gather", &format!("x i{t}"), &format!("x{t}"), &[int("axis", 1)])
            .node("Gemm", &format!("x{t} w b"), &format!("a{t}"), &[])
            .node("Gemm", &format!("h{t} r"), &format!("g{t}"), &[])
            .node("Add", &format!("a{t} g{t}"), &format!("s{t}"), &[])
            .node("Relu", &format!("s{t}"), &format!("h{}", t + 1), &[]);
    }
    let imported = model.node("MatMul", "h3 o", "y", &[]).output("y").proven();
    let linear = imported.graph.ids().filter(|&id| matches!(imported.graph.op(id), snn_ir::Op::Linear(_))).count();
    assert_eq!(linear, 6, "the product of two constants is no layer");
}

#[test]
fn whatever_is_converted_is_folded_where_its_operands_are_known() {
    let relu = |model: Onnx| model.node("Add", "x c", "y", &[]).output("y").proven();
    let image = || Onnx::new(18).input("x", &[1, 2, 4, 4]).weight("k", &[1, 2, 4, 4]).weight("w", &[2, 2, 3, 3]);
    for (op, inputs, attributes) in [
        ("Conv", "k w", vec![ints("pads", &[1, 1, 1, 1])]),
        ("MaxPool", "k", vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])]),
        ("AveragePool", "k", vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])]),
        ("GlobalAveragePool", "k", vec![]),
        ("Relu", "k", vec![]),
        ("Sigmoid", "k", vec![]),
        ("Abs", "k", vec![]),
        ("LeakyRelu", "k", vec![]),
        ("Softmax", "k", vec![]),
        ("ReduceL1", "k", vec![]),
    ] {
        let imported = relu(image().node(op, inputs, "c", &attributes));
        assert_eq!(imported.graph.len(), 2, "{op} leaves {} nodes", imported.graph.len());
    }
    let rows = || Onnx::new(13).input("x", &[1, 3]).weight("a", &[1, 4]).weight("b", &[4, 3]).weight("s", &[2, 1, 4]);
    for model in [
        rows().node("Gemm", "a b x", "y", &[float("alpha", 0.5), float("beta", 2.0)]).output("y"),
        rows().node("MatMul", "a b", "c", &[]).node("Add", "x c", "y", &[]).output("y"),
        rows().node("Einsum", "a b", "c", &[string("equation", "ij,jk->ik")]).node("Add", "x c", "y", &[]).output("y"),
        rows().node("MatMul", "s b", "m", &[]).node("ReduceSum", "m", "c", &[]).node("Add", "x c", "y", &[]).output("y"),
    ] {
        let graph = model.proven().graph;
        assert!(!graph.ids().any(|id| matches!(graph.op(id), snn_ir::Op::Linear(_))), "a product of constants is a layer");
    }
}

#[test]
fn weights_that_a_file_quantises_as_floats_are_rounded_as_it_says() {
    let scale = TensorProto { name: "zero".into(), data_type: 3, int32_data: vec![0], ..TensorProto::default() };
    let model = Onnx::new(13).input("x", &[1, 4]).weight("w", &[4, 3]).initializer(tensor("scale", &[], &[0.01])).initializer(scale);
    let model = model.node("QuantizeLinear", "w scale zero", "q", &[]).node("DequantizeLinear", "q scale zero", "d", &[]);
    let imported = model.node("MatMul", "x d", "y", &[]).output("y").import().expect("it folds");
    let w: Vec<f32> = snn_tests::onnx::noise(12).iter().map(|v| (v / 0.01).round_ties_even().clamp(-128.0, 127.0) * 0.01).collect();
    assert_computes(&imported, &[1.0, 0.0, 0.0, 0.0], &w[..3]);
}
