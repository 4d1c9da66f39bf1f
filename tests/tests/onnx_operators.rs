//! What the importer makes of constructions that exporters write, compared with tract where numbers matter.

use snn_ir::{Activation, Graph, Op};
use snn_tests::onnx::{Onnx, float, int, ints, string};
use snnc::frontend::onnx::ImportError;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto, TensorProto};

fn ops(graph: &Graph) -> Vec<&'static str> {
    let order = graph.topological().expect("no cycle");
    order.into_iter().map(|id| graph.op(id).name()).collect()
}

#[test]
fn a_convolution_with_asymmetric_padding_groups_and_dilation_equals_tract() {
    let attributes = [ints("pads", &[0, 1, 2, 3]), ints("strides", &[2, 1]), ints("dilations", &[1, 2]), int("group", 2)];
    Onnx::new(13)
        .input("x", &[-1, 4, 9, 8])
        .weight("w", &[6, 2, 3, 3])
        .weight("b", &[6])
        .node("Conv", "x w b", "y", &attributes)
        .output("y")
        .proven();
    for pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let attributes = [string("auto_pad", pad), ints("strides", &[2, 2]), ints("kernel_shape", &[3, 3])];
        Onnx::new(13).input("x", &[1, 4, 9, 8]).weight("w", &[6, 4, 3, 3]).node("Conv", "x w", "y", &attributes).output("y").proven();
    }
    Onnx::new(13).input("x", &[1, 4, 20]).weight("w", &[6, 4, 5]).node("Conv", "x w", "y", &[ints("pads", &[2, 2])]).output("y").proven();
}

#[test]
fn a_transposed_convolution_equals_tract() {
    let attributes = [ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1]), ints("output_padding", &[1, 1])];
    let model = Onnx::new(13).input("x", &[1, 4, 5, 5]).weight("w", &[4, 3, 3, 3]).weight("b", &[3]);
    model.node("ConvTranspose", "x w b", "y", &attributes).output("y").proven();
}

#[test]
fn an_nhwc_graph_with_transposes_around_its_convolutions_equals_tract() {
    let to_nchw = ints("perm", &[0, 3, 1, 2]);
    let imported = Onnx::new(13)
        .input("x", &[-1, 8, 8, 3])
        .weight("w", &[4, 3, 3, 3])
        .weight("scale", &[4])
        .node("Transpose", "x", "t", &[to_nchw])
        .node("Conv", "t w", "c", &[])
        .node("Transpose", "c", "u", &[ints("perm", &[0, 2, 3, 1])])
        .node("Mul", "u scale", "m", &[])
        .node("Relu", "m", "r", &[])
        .node("ReduceMean", "r", "y", &[ints("axes", &[1, 2]), int("keepdims", 0)])
        .output("y")
        .proven();
    assert_eq!(imported.graph.ty(imported.graph.inputs()[0]).shape, [8, 8, 3]);
}

#[test]
fn dense_layers_in_every_order_of_operands_equal_tract() {
    let x = || Onnx::new(13).input("x", &[1, 6]);
    x().weight("w", &[6, 4]).weight("c", &[4]).node("Gemm", "x w c", "y", &[float("alpha", 0.5), float("beta", 2.0)]).output("y").proven();
    x().weight("w", &[4, 6]).node("Gemm", "w x", "y", &[int("transB", 1)]).output("y").proven();
    x().weight("w", &[4, 1]).node("Gemm", "w x", "y", &[]).output("y").proven();
    x().weight("w", &[6, 4]).weight("b", &[4]).node("MatMul", "x w", "m", &[]).node("Add", "b m", "y", &[]).output("y").proven();
    x().weight("w", &[1, 6, 4]).node("MatMul", "x w", "y", &[]).output("y").proven();
    Onnx::new(13).input("x", &[1, 3, 5, 6]).weight("w", &[4, 5]).node("MatMul", "w x", "y", &[]).output("y").proven();
    Onnx::new(13).input("x", &[1, 3, 5, 6]).weight("w", &[6]).node("MatMul", "x w", "y", &[]).output("y").proven();
}

#[test]
fn einsum_is_a_linear_layer() {
    let run = |equation: &str, x: &[i64], w: &[i64]| {
        let model = Onnx::new(13).input("x", x).weight("w", w);
        model.node("Einsum", "x w", "y", &[string("equation", equation)]).output("y").proven()
    };
    assert_eq!(ops(&run("bi,oi->bo", &[1, 5], &[3, 5]).graph), ["input", "linear"]);
    run("bchw,dc->bdhw", &[1, 4, 3, 3], &[6, 4]);
    run("bchw,cd->bhwd", &[1, 4, 3, 3], &[4, 6]);
    run("bchw,c->bchw", &[1, 4, 3, 3], &[4]);
}

#[test]
fn branches_join_by_sum_maximum_and_concat() {
    let branches = || {
        let model = Onnx::new(13).input("x", &[1, 4, 6, 6]).weight("v", &[4, 4, 1, 1]).weight("w", &[4, 4, 3, 3]);
        model.node("Conv", "x v", "a", &[]).node("Conv", "x w", "b", &[ints("pads", &[1, 1, 1, 1])])
    };
    branches().node("Sub", "a b", "y", &[]).output("y").proven();
    branches().node("Max", "a b x", "y", &[]).output("y").proven();
    branches().node("Min", "a b", "y", &[]).output("y").proven();
    branches().node("Sum", "a b x", "y", &[]).output("y").proven();
    branches().node("Mean", "a b", "y", &[]).output("y").proven();
    branches().weight("k", &[1, 2, 6, 6]).node("Concat", "a k b", "y", &[int("axis", 1)]).output("y").proven();
    branches().node("Concat", "a b", "y", &[int("axis", -1)]).output("y").output("a").proven();
}

#[test]
fn split_shuffle_slice_and_pad_equal_tract() {
    let shuffled = Onnx::new(13)
        .input("x", &[-1, 6, 4, 4])
        .list("five", &[0, 2, 3, 4, 4])
        .list("four", &[0, -1, 4, 4])
        .list("parts", &[2, 4])
        .node("Reshape", "x five", "r", &[])
        .node("Transpose", "r", "t", &[ints("perm", &[0, 2, 1, 3, 4])])
        .node("Reshape", "t four", "s", &[])
        .node("Split", "s parts", "a b", &[int("axis", 1)])
        .node("Concat", "b a", "y", &[int("axis", 1)]);
    shuffled.output("y").proven();
    let sliced = Onnx::new(13).input("x", &[1, 3, 8, 8]).list("s", &[-1, 0]).list("e", &[-9, 7]).list("a", &[2, 3]).list("t", &[-2, 3]);
    sliced.node("Slice", "x s e a t", "y", &[]).output("y").proven();
    for mode in ["constant", "reflect", "edge"] {
        let model = Onnx::new(13).input("x", &[1, 2, 5, 5]).list("p", &[0, 0, 1, 2, 0, 1, 2, 1]);
        let model = if mode == "constant" { model } else { model.list("q", &[0, 0, 1, 2, 0, 0, 2, 1]) };
        model.node("Pad", if mode == "constant" { "x p" } else { "x q" }, "y", &[string("mode", mode)]).output("y").proven();
    }
    Onnx::new(9).input("x", &[1, 8, 3, 3]).node("DepthToSpace", "x", "y", &[int("blocksize", 2)]).output("y").proven();
}

#[test]
fn bilinear_upsampling_is_a_linear_map() {
    let attributes = [string("mode", "linear"), string("coordinate_transformation_mode", "align_corners")];
    let model = Onnx::new(13).input("x", &[1, 2, 4, 5]).floats("roi", &[0], &[]).list("sizes", &[1, 2, 7, 9]);
    let imported = model.node("Resize", "x roi _ sizes", "y", &attributes).output("y").import().expect("it is linear");
    assert_eq!(imported.facts.outputs[0].shape, [1, 2, 7, 9]);
    let nearest = Onnx::new(9).input("x", &[1, 2, 4, 5]).floats("s", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let imported = nearest.node("Upsample", "x s", "y", &[string("mode", "nearest")]).output("y").import();
    assert_eq!(ops(&imported.expect("it is a gather").graph), ["input", "gather", "gather"]);
}

#[test]
fn pools_and_reductions_equal_tract() {
    let x = || Onnx::new(13).input("x", &[1, 3, 7, 7]);
    let window = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
    x().node("MaxPool", "x", "y", &[window[0].clone(), window[1].clone(), ints("pads", &[1, 1, 1, 1])]).output("y").proven();
    x().node("AveragePool", "x", "y", &[window[0].clone(), window[1].clone(), int("count_include_pad", 1), ints("pads", &[1, 0, 1, 0])])
        .output("y")
        .proven();
    x().node("AveragePool", "x", "y", &[window[0].clone(), ints("pads", &[1, 0, 1, 0])]).output("y").proven();
    x().node("GlobalMaxPool", "x", "y", &[]).output("y").proven();
    x().node("ReduceMax", "x", "y", &[ints("axes", &[1, 3]), int("keepdims", 0)]).output("y").proven();
    x().node("ReduceMin", "x", "y", &[ints("axes", &[-1])]).output("y").proven();
    x().list("a", &[1]).node("ReduceSum", "x a", "y", &[int("keepdims", 0)]).output("y").proven();
}

#[test]
fn a_clip_at_zero_is_a_capped_relu_in_old_and_new_opsets() {
    let old = Onnx::new(6 + 1).input("x", &[1, 4]).node("Clip", "x", "y", &[float("min", 0.0), float("max", 6.0)]).output("y");
    let new =
        Onnx::new(13).input("x", &[1, 4]).floats("lo", &[], &[0.0]).floats("hi", &[], &[6.0]).node("Clip", "x lo hi", "y", &[]).output("y");
    let steps = Onnx::new(13).input("x", &[1, 4]).floats("lo", &[], &[0.0]).node("Max", "x lo", "y", &[]).output("y");
    for (model, cap) in [(old, Some(6.0)), (new, Some(6.0)), (steps, None)] {
        let graph = model.import().expect("a clip is supported").graph;
        assert!(matches!(graph.op(graph.outputs()[0]), Op::Relu(r) if r.cap == cap), "{:?}", ops(&graph));
    }
}

#[test]
fn activations_written_out_in_steps_are_recognised() {
    let x = || {
        Onnx::new(13).input("x", &[1, 9]).floats("half", &[], &[0.5]).floats("one", &[], &[1.0]).floats(
            "root",
            &[],
            &[std::f32::consts::SQRT_2],
        )
    };
    let activation = |model: Onnx| {
        let graph = model.output("y").proven().graph;
        graph.topological().expect("no cycle").into_iter().find_map(|id| match graph.op(id) {
            Op::Activation(a) => Some(a.clone()),
            _ => None,
        })
    };
    let erf = || x().node("Div", "x root", "d", &[]).node("Erf", "d", "e", &[]).node("Add", "e one", "f", &[]);
    assert_eq!(activation(erf().node("Mul", "x f", "g", &[]).node("Mul", "g half", "y", &[])), Some(Activation::Gelu));
    assert_eq!(activation(erf().node("Mul", "x half", "h", &[]).node("Mul", "h f", "y", &[])), Some(Activation::Gelu));
    assert_eq!(activation(x().node("Sigmoid", "x", "s", &[]).node("Mul", "s x", "y", &[])), Some(Activation::Silu));
    let soft = x().node("Softplus", "x", "s", &[]).node("Tanh", "s", "t", &[]).node("Mul", "x t", "y", &[]);
    assert_eq!(activation(soft), Some(Activation::Mish));
    let hard = x().floats("three", &[], &[3.0]).floats("six", &[], &[6.0]).floats("zero", &[], &[0.0]);
    let hard = hard.node("Add", "x three", "a", &[]).node("Clip", "a zero six", "c", &[]).node("Mul", "x c", "m", &[]).node(
        "Div",
        "m six",
        "y",
        &[],
    );
    let graph = hard.output("y").proven().graph;
    assert!(graph.ids().any(|id| *graph.op(id) == Op::Activation(Activation::HardSwish)), "{:?}", ops(&graph));
    let gate = x().weight("w", &[9, 9]).node("MatMul", "x w", "a", &[]).node("Mul", "a x", "y", &[]).output("y");
    assert!(gate.import().expect_err("a gate multiplies activations").to_string().contains("two computed values"));
}

#[test]
fn a_shape_subgraph_with_an_open_batch_folds_away() {
    let imported = Onnx::new(13)
        .input("x", &[-1, 4, 3, 3])
        .list("zero", &[0])
        .list("rest", &[-1])
        .node("Shape", "x", "s", &[])
        .node("Gather", "s zero", "n", &[])
        .node("Concat", "n rest", "t", &[int("axis", 0)])
        .node("Reshape", "x t", "y", &[])
        .output("y")
        .proven();
    assert_eq!(ops(&imported.graph), ["input", "reshape"]);
    assert_eq!(imported.facts.outputs[0].shape, [1, 36]);
}

#[test]
fn a_batch_size_fixed_in_the_file_is_imported_as_one_sample() {
    let model = Onnx::new(13).input("x", &[8, 4, 3, 3]).weight("w", &[4, 4, 3, 3]).list("t", &[8, 4]);
    let imported = model.node("Conv", "x w", "c", &[]).node("Reshape", "c t", "y", &[]).output("y").import().expect("one sample is enough");
    assert_eq!(imported.facts.inputs[0].shape, [1, 4, 3, 3]);
    assert_eq!(imported.facts.outputs[0].shape, [1, 4]);
    assert!(imported.facts.warnings[0].contains("batch size to 8"));
}

#[test]
fn weights_may_be_initializers_inputs_constant_nodes_or_halves() {
    let mut listed = Onnx::new(13).input("x", &[1, 2]).input("w", &[2, 2]).weight("w", &[2, 2]).node("MatMul", "x w", "y", &[]).output("y");
    listed.graph().name = "listed".into();
    assert_eq!(listed.proven().facts.inputs.len(), 1);
    let mut value = snn_tests::onnx::int("value", 0);
    value.t = Some(snn_tests::onnx::tensor("", &[2, 2], &[1.0, 2.0, 3.0, 4.0]));
    value.r#type = 4;
    Onnx::new(13).input("x", &[1, 2]).node("Constant", "", "w", &[value]).node("MatMul", "x w", "y", &[]).output("y").proven();
    let raw_data = [0x3c00u16, 0x4000, 0xc000, 0x3800].iter().flat_map(|h| h.to_le_bytes()).collect();
    let halves =
        TensorProto { name: "h".into(), dims: vec![2, 2], data_type: DataType::Float16 as i32, raw_data, ..TensorProto::default() };
    let cast = Onnx::new(13).input("x", &[1, 2]).initializer(halves).node("Cast", "h", "w", &[int("to", 1)]);
    cast.node("MatMul", "x w", "y", &[]).output("y").proven();
}

#[test]
fn a_quantised_model_becomes_the_floats_it_stands_for() {
    let bytes = |name: &str, dims: &[i64], data: &[i32], kind: DataType| TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        int32_data: data.to_vec(),
        ..TensorProto::default()
    };
    let imported = Onnx::new(13)
        .input("x", &[1, 2])
        .floats("step", &[], &[0.01])
        .floats("steps", &[2], &[0.5, 0.25])
        .initializer(bytes("zero", &[], &[0], DataType::Uint8))
        .initializer(bytes("zeros", &[2], &[0, 1], DataType::Int8))
        .initializer(bytes("q", &[2, 2], &[2, 5, -2, 1], DataType::Int8))
        .node("DequantizeLinear", "q steps zeros", "w", &[int("axis", 1)])
        .node("MatMul", "x w", "m", &[])
        .node("QuantizeLinear", "m step zero", "i", &[])
        .node("DequantizeLinear", "i step zero", "y", &[])
        .output("y")
        .import()
        .expect("QDQ is supported");
    let graph = &imported.graph;
    let order = graph.topological().expect("no cycle");
    let Op::Linear(layer) = graph.op(order[1]) else { panic!("{:?}", ops(graph)) };
    assert_eq!(layer.weight.as_f32(), [1.0, -1.0, 1.0, 0.0]);
    // Unsigned integers from zero on were a ReLU.
    assert_eq!(ops(graph), ["input", "linear", "relu", "identity"]);
    assert!(imported.facts.warnings[0].contains("quantised"));
}

#[test]
fn every_obstacle_is_listed_once_with_its_node_and_nothing_that_only_follows_from_it() {
    let model = Onnx::new(13)
        .input("x", &[1, 4, 6, 6])
        .weight("w", &[4, 4])
        .node("NonMaxSuppression", "x", "a", &[])
        .named("boxes")
        .node("Relu", "a", "b", &[])
        .node("MatMul", "b w", "c", &[])
        .node("MeanVarianceNormalization", "x", "d", &[])
        .named("norm")
        .node("Add", "c d", "y", &[])
        .node("Loop", "x", "unused", &[])
        .output("y");
    let message = model.import().expect_err("two nodes are unsupported").to_string();
    assert!(message.starts_with("2 nodes of test.onnx cannot be converted"), "{message}");
    assert!(message.contains("node `boxes` (NonMaxSuppression, opset 13, inputs [1x4x6x6])"), "{message}");
    assert!(message.contains("node `norm`") && message.contains("way out: train with batch normalisation"), "{message}");
}

#[test]
fn a_closing_arg_max_is_left_out_with_a_warning() {
    let model = Onnx::new(13).input("x", &[1, 4]).node("Relu", "x", "r", &[]).node("ArgMax", "r", "i", &[int("axis", 1)]).named("decide");
    let imported = model.node("Cast", "i", "y", &[int("to", 6)]).output("y").import().expect("ArgMax at the end goes");
    assert_eq!(ops(&imported.graph), ["input", "relu"]);
    assert!(imported.facts.warnings[0].contains("decide"));
}

#[test]
fn nodes_keep_their_onnx_names_and_take_their_outputs_where_these_are_not_unique() {
    let model = Onnx::new(13).input("x", &[1, 4]).node("Relu", "x", "a", &[]).named("act").node("Sigmoid", "a", "b", &[]).named("same");
    let graph = model.node("Tanh", "b", "c", &[]).named("same").output("c").import().expect("supported").graph;
    let names: Vec<&str> = graph.topological().expect("no cycle").into_iter().map(|id| graph.node(id).name()).collect();
    assert_eq!(names, ["x", "act", "b", "c"]);
}

#[test]
fn integers_of_the_input_must_be_cast_before_they_are_calculated_with() {
    let pixels = || Onnx::new(13).typed_input("x", DataType::Uint8, &[1, 4]).floats("k", &[], &[0.5]);
    let cast = pixels().node("Cast", "x", "f", &[int("to", 1)]).node("Mul", "f k", "y", &[]).output("y");
    assert!(cast.import().is_ok());
    let direct = pixels().node("Mul", "x k", "y", &[]).output("y");
    assert!(direct.import().expect_err("integers").to_string().contains("cast the network's input to float"));
}

#[test]
fn calls_of_the_models_own_functions_are_replaced_by_their_bodies() {
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    };
    let mut leaky = node("LeakyRelu", &["a"], "l");
    leaky.attribute.push(AttributeProto { name: "alpha".into(), ref_attr_name: "slope".into(), ..AttributeProto::default() });
    let function = FunctionProto {
        name: Some("Block".into()),
        domain: Some("mine".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![leaky, node("Neg", &["l"], "b")],
        ..FunctionProto::default()
    };
    let mut model = Onnx::new(13).input("x", &[1, 4]);
    for (input, output) in [("x", "m"), ("m", "y")] {
        model = model.node("Block", input, output, &[float("slope", 0.25)]);
        model.graph().node.last_mut().expect("it was just added").domain = "mine".into();
    }
    let mut model = model.output("y");
    model.0.functions.push(function.clone());
    let graph = model.import().expect("the function is inlined").graph;
    assert_eq!(ops(&graph), ["input", "leaky_relu", "scale", "leaky_relu", "scale"]);
    let slope = Op::Activation(Activation::LeakyRelu { slope: 0.25 });
    assert_eq!(graph.ids().filter(|&id| *graph.op(id) == slope).count(), 2);

    let mut endless = node("Block", &["a"], "b");
    endless.domain = "mine".into();
    model.0.functions[0].node = vec![endless];
    assert!(model.import().expect_err("it calls itself").to_string().contains("call each other"));
}

#[test]
fn an_output_that_spikes_cannot_carry_is_refused_where_it_is_used() {
    let x = || Onnx::new(13).input("x", &[1, 2, 4, 4]);
    let pool = |outputs: &str| x().node("MaxPool", "x", outputs, &[ints("kernel_shape", &[2, 2])]);
    assert!(pool("y unused").output("y").import().is_ok());
    let indices = pool("y i").node("Cast", "i", "f", &[int("to", 1)]).output("y").output("f");
    assert!(indices.import().expect_err("indices are used").to_string().contains("its output `i` is used"));
}

#[test]
fn obstacles_after_a_refused_product_are_listed_as_well() {
    let gate = |name: &str, x: &str, y: &str| (format!("{name}.m"), x.to_string(), y.to_string());
    let mut model = Onnx::new(17).input("x", &[1, 4, 6, 6]).weight("w", &[4, 4, 1, 1]);
    for (name, x, y) in [gate("first", "x", "a"), gate("second", "a", "y")] {
        model = model
            .node("GlobalAveragePool", &x, &format!("{name}.g"), &[])
            .node("Conv", &format!("{name}.g w"), &format!("{name}.s"), &[])
            .node("Mul", &format!("{x} {name}.s"), &y, &[])
            .named(&name);
    }
    let message = model.output("y").import().expect_err("two gates").to_string();
    assert!(message.starts_with("2 nodes of test.onnx") && message.contains("`first.m`") && message.contains("`second.m`"), "{message}");
}

#[test]
fn an_if_whose_condition_is_constant_is_the_branch_it_chooses() {
    let branch = |op: &str, name: &str| {
        let mut inner = Onnx::new(13).floats("k", &[], &[2.0]).node(op, "x k", "r", &[]).output("r");
        AttributeProto { name: name.into(), g: Some(inner.graph().clone()), r#type: 5, ..AttributeProto::default() }
    };
    let model = |condition: &str, dims: &[i64]| {
        Onnx::new(13)
            .input("x", dims)
            .list("four", &[4])
            .list("one", &[1])
            .floats("r", &[], &[0.0])
            .node("Shape", "x", "s", &[])
            .node("Gather", "s one", "n", &[])
            .node("Equal", "n four", "c", &[])
            .node("Relu", "x", "u", &[])
            .node("If", condition, "y", &[branch("Mul", "then_branch"), branch("Add", "else_branch")])
            .output("y")
    };
    let scale = |dims: &[i64]| {
        let graph = model("c", dims).proven().graph;
        let Op::Scale(s) = graph.op(graph.outputs()[0]).clone() else { panic!("{:?}", ops(&graph)) };
        (s.weight.is_some(), s.bias.is_some())
    };
    assert_eq!((scale(&[1, 4]), scale(&[1, 5])), ((true, false), (false, true)));
    let open = model("u", &[1, 4]).import().expect_err("the condition is computed").to_string();
    assert!(open.contains("control flow depends on the input"), "{open}");
}

#[test]
fn a_softmax_inside_the_network_is_refused_before_anything_is_compiled() {
    let model = Onnx::new(13).input("x", &[1, 4]).weight("w", &[4, 4]).node("Softmax", "x", "p", &[]).named("attention");
    let message = model.node("MatMul", "p w", "y", &[]).output("y").import().expect_err("it is inside").to_string();
    assert!(message.contains("`attention` (Softmax") && message.contains("way out"), "{message}");
}

#[test]
fn an_import_that_computes_something_else_is_refused_naming_the_first_node_that_differs() {
    let model = Onnx::new(13).input("x", &[1, 4]).weight("w", &[4, 4]).node("MatMul", "x w", "a", &[]).named("first");
    let model = model.node("Tanh", "a", "b", &[]).named("second").node("Neg", "b", "y", &[]).named("third").output("y");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.bytes()).unwrap();
    let mut imported = model.import().unwrap();
    assert!(snnc::frontend::onnx::check_import(&path, &imported).unwrap().difference < 1e-5);
    let second = imported.graph.find("second").unwrap();
    imported.graph.set_op(second, Op::Activation(Activation::Softsign)).unwrap();
    let error = snnc::frontend::onnx::check_import(&path, &imported).unwrap_err().to_string();
    assert!(error.contains("node `second`"), "{error}");
}

#[test]
fn normalisations_by_the_samples_own_statistics_equal_tract_before_they_are_approximated() {
    let x = || Onnx::new(17).input("x", &[1, 4, 5, 5]).weight("g", &[4]).weight("b", &[4]);
    let instance = x().node("InstanceNormalization", "x g b", "y", &[]).output("y").proven().graph;
    assert!(ops(&instance).contains(&"rms_norm"), "{:?}", ops(&instance));
    let layer = Onnx::new(17).input("x", &[1, 6, 4]).weight("g", &[4]).weight("b", &[4]);
    layer.node("LayerNormalization", "x g b", "y", &[int("axis", -1)]).output("y").proven();
}

#[test]
fn a_classifier_over_a_table_answers_with_scores_and_its_label_is_left_out() {
    let floats =
        |name: &str, values: &[f32]| AttributeProto { name: name.into(), floats: values.to_vec(), r#type: 6, ..AttributeProto::default() };
    let mut model = Onnx::new(17).input("x", &[-1, 2]).weight("w", &[2, 3]).list("classes", &[10, 20, 30]).list("t", &[-1]).node(
        "Scaler",
        "x",
        "s",
        &[floats("offset", &[1.0, 2.0]), floats("scale", &[0.5, 0.25])],
    );
    model.graph().node[0].domain = "ai.onnx.ml".into();
    model.0.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 1 });
    let mut model = model.node("MatMul", "s w", "scores", &[]).node("ArgMax", "scores", "i", &[int("axis", 1)]).named("decide");
    model = model.node("ArrayFeatureExtractor", "classes i", "name", &[]);
    model.graph().node[3].domain = "ai.onnx.ml".into();
    let imported = model.node("Reshape", "name t", "label", &[]).output("label").output("scores").import().expect("the scores convert");
    assert_eq!(imported.facts.outputs.len(), 1);
    assert!(imported.facts.warnings[0].contains("decide"));
    let graph = imported.graph;
    let got = snn_runtime::analog::AnalogNetwork::new(&graph).unwrap().run(&[&[3.0, 6.0]], &mut |_, _| {}).swap_remove(0);
    let w = snn_tests::onnx::noise(6);
    assert!((got[0] - (w[0] + w[3])).abs() < 1e-6, "{got:?}");
}

#[test]
fn an_exponential_that_is_no_step_of_an_activation_is_blamed_and_not_what_reads_it() {
    let model =
        Onnx::new(13).input("x", &[1, 4]).weight("w", &[4, 4]).node("MatMul", "x w", "a", &[]).node("Exp", "a", "e", &[]).named("power");
    let model = model.node("Add", "e x", "s", &[]).named("sum").node("MatMul", "s w", "y", &[]).output("y");
    let message = model.import().expect_err("neurons have no exponential").to_string();
    assert!(message.starts_with("1 node of"), "{message}");
    assert!(message.contains("node `power` (Exp") && message.contains("end the model at `a`"), "{message}");
    let alone = Onnx::new(13).input("x", &[1, 4]).node("Relu", "x", "r", &[]).node("Sqrt", "r", "y", &[]).named("root").output("y");
    let message = alone.import().expect_err("a root is no activation").to_string();
    assert!(message.contains("node `root` (Sqrt") && message.contains("end the model at `r`"), "{message}");
}

#[test]
fn obstacles_of_one_reason_are_one_entry_and_every_one_is_in_the_error() {
    let mut model = Onnx::new(13).input("x", &[1, 4]).weight("w", &[4, 4]);
    for i in 0..30 {
        model = model.node("Mod", &format!("x{} x", if i == 0 { String::new() } else { i.to_string() }), &format!("x{}", i + 1), &[]);
    }
    let error = model.node("MatMul", "x30 w", "y", &[]).output("y").import().expect_err("remainders have no spiking form");
    let message = error.to_string();
    assert!(message.starts_with("30 nodes of") && message.lines().count() <= 4, "{message}");
    assert!(message.contains("30 nodes `x1`, `x2`"), "{message}");
    assert!(matches!(error, ImportError::Unsupported { obstacles, .. } if obstacles.len() == 30));
}

/// Two heads of a detector, and what decodes their boxes.
fn detector() -> Onnx {
    let mut model = Onnx::new(13).input("x", &[1, 3, 8, 8]).weight("w", &[8, 3, 3, 3]).list("flat", &[1, 5, -1]).list("most", &[4]);
    model = model.floats("anchor", &[1], &[2.0]).node("Conv", "x w", "c", &[]).node("Relu", "c", "f", &[]);
    for head in ["small", "large"] {
        model = model.weight(&format!("w_{head}"), &[5, 8, 3, 3]).node("Conv", &format!("f w_{head}"), head, &[]).node(
            "Reshape",
            &format!("{head} flat"),
            &format!("{head}_flat"),
            &[],
        );
    }
    model
        .node("Concat", "small_flat large_flat", "all", &[int("axis", 2)])
        .node("Exp", "all", "size", &[])
        .node("Mul", "size anchor", "boxes", &[])
        .node("Sigmoid", "all", "scores", &[])
        .node("TopK", "scores most", "best index", &[])
        .node("Add", "boxes scores", "y", &[])
        .output("y")
        .output("best")
}

#[test]
fn a_detector_is_told_to_end_at_its_raw_heads() {
    let error = detector().import().expect_err("boxes are decoded by exponentials");
    let message = error.to_string();
    assert!(message.contains("end the model at the raw heads, `small`, `large`"), "{message}");
    assert!(matches!(error, ImportError::Unsupported { heads, .. } if heads == ["small", "large"]));
    // Where weights follow, what is refused is no decoder.
    let inside = detector().weight("more", &[98, 9]);
    let inside = inside.node("MatMul", "y more", "z", &[]).output("z").import().expect_err("it is inside").to_string();
    assert!(!inside.contains("raw heads"), "{inside}");
}
