//! The text form: what is printed parses back, and what is no graph is refused with its place.

mod graphs;

use graphs::{all_ops, quantized, random};
use proptest::prelude::*;
use snn_ir::text::{Parameters, parameters, parse, parse_with, print};
use snn_ir::*;
use std::collections::BTreeSet;

fn assert_round_trip(g: &Graph) {
    let full = print(g, Parameters::Full);
    let back = parse(&full).unwrap_or_else(|e| panic!("{e}\n{full}"));
    assert_eq!(back, *g, "{full}");
    assert_eq!(print(&back, Parameters::Full), full);
    let summary = print(g, Parameters::Summary);
    let known = parameters(g);
    let resolve = |name: &str, hash| known.get(name).filter(|t| t.content_hash() == hash).cloned();
    let back = parse_with(&summary, resolve).unwrap_or_else(|e| panic!("{e}\n{summary}"));
    assert_eq!(back, *g, "{summary}");
    assert_eq!(print(&back, Parameters::Summary), summary);
}

#[test]
fn every_operation_parses_back_to_itself() {
    let graphs = all_ops();
    graphs.iter().for_each(assert_round_trip);
    assert_round_trip(&quantized());
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for g in graphs.iter().chain([&quantized()]) {
        seen.extend(g.ids().map(|id| g.op(id).name()));
    }
    let all = "abs add avg_pool batch_norm celu clip concat constant conv conv_transpose cumulative_max cumulative_max_pool elu encode gather \
               gelu gelu_tanh hard_sigmoid hard_swish identity if input layer leaky_relu linear lrn max_pool maximum mish pad prelu readout \
               reduce relu reshape rms_norm scale selu sigmoid silu slice softmax softplus softsign tanh thresholded_relu transpose";
    let missing: Vec<&str> = all.split_whitespace().filter(|op| !seen.contains(op)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_quantized_network_reads_well() {
    insta::assert_snapshot!(print(&quantized(), Parameters::Summary));
}

const SMALL: &str = r#"graph @small steps=4 {
  %x = input : current[2x4x4]
  %c = conv %x, weight=@w, bias=f32[3] [0, 0.5, -1e-5], kernel=3x3, pad=1x1 : current[3x4x4] // a comment
  %n = if %c, threshold=1, init=0.5 : spikes[3x4x4]
  %y = readout %n : potential[3x4x4]
  output %y
}
@w = f32[3x2x3x3] seeded(7, 0.1)
"#;

#[test]
fn hand_written_parameters_are_what_they_say() {
    let g = parse(SMALL).unwrap();
    verify(&g).unwrap();
    let Op::Conv(c) = g.op(g.find("c").unwrap()) else { panic!() };
    assert_eq!(c.weight, text::literal::seeded(ElementType::F32, [3, 2, 3, 3], 7, 0.1));
    assert_eq!(c.bias.as_ref().unwrap().as_f32(), [0.0, 0.5, -1e-5]);
    let splat = parse(&SMALL.replace("seeded(7, 0.1)", "splat(-2)")).unwrap();
    let Op::Conv(c) = splat.op(splat.find("c").unwrap()) else { panic!() };
    assert!(c.weight.as_f32().iter().all(|&w| w == -2.0));
}

#[test]
fn parameters_of_different_nodes_never_share_a_name_by_accident() {
    // Both nodes have a parameter that would be called `a.synapse0.weight`.
    let text = "graph @g {
  %x = input : current[2]
  %a = layer %x, synapses=[linear(weight=f32[9x2] splat(1))] : current[9]
  %a.synapse0 = linear %x, weight=f32[9x2] splat(2) : current[9]
  output %a, %a.synapse0
}";
    assert_round_trip(&parse(text).unwrap());
}

#[test]
fn nonsense_is_refused_with_its_place_and_reason() {
    let cases = [
        ("kernel=3x3", "kernel=3x", "3:64: expected a value"),
        ("pad=1x1", "pda=1x1", "3:69: attribute `pda` is unknown here"),
        ("kernel=3x3", "kernel=relu", "3:57: attribute `kernel` should be sizes such as 3x3"),
        ("weight=@w, ", "", "3:8: attribute `weight` is missing"),
        ("%c = conv", "%c = convolve", "3:8: unknown operation `convolve`"),
        ("if %c", "if %d", "4:11: there is no node `d` above"),
        ("current[3x4x4]", "current[3x4x5]", "3:79: the type is current[3x4x4]"),
        ("%n = if", "%c = if", "4:3: there is already a node named `c`"),
        ("@w = f32[3x2x3x3]", "@w = f32[3x2x3x2]", "3:3: node `c` (conv): weight [3, 2, 3, 2] does not fit kernel [3, 3] in 1 groups"),
        ("@w = f32[3x2x3x3]", "@v = f32[3x2x3x3]", "3:24: there is no parameter `w`"),
        ("seeded(7, 0.1)", "[1, 2]", "8:19: the shape needs 54 elements, here are 2"),
        ("seeded(7, 0.1)", "base64(\"AAAA\")", "8:26: 3 bytes do not fill the shape"),
        (
            "seeded(7, 0.1)",
            "summary(min=0, max=1, hash=1f)",
            "8:1: this parameter is only summarised: print the graph with its parameters in full",
        ),
        ("f32[3] [0, 0.5, -1e-5]", "i8[3] [0, 200, 1]", "3:43: this is no i8"),
        ("[3x2x3x3] seeded(7, 0.1)", "[99999x99999] splat(1)", "8:9: generated parameters are limited to 16777216 elements"),
        ("output %y", "output", "7:1: expected a node's name such as `%conv1`"),
        ("steps=4", "steps=-4", "1:20: expected a number of steps"),
        ("current[2x4x4]", "currents[2x4x4]", "2:16: expected a signal: analog, current, spikes or potential"),
        ("%x = input", "%\"x = input", "2:4: the closing quote is missing"),
        ("init=0.5", "threshold=0.5", "4:28: attribute `threshold` is here twice"),
        ("init=0.5", "init=?", "4:33: unexpected character '?'"),
    ];
    let mut wrong = Vec::new();
    for (from, to, want) in cases {
        let text = SMALL.replacen(from, to, 1);
        assert_ne!(text, SMALL, "{from} is not there");
        let e = parse(&text).expect_err(&format!("{to} was taken"));
        let got = format!("{}:{}: {}", e.line, e.column, e.message);
        wrong.extend((got != want).then(|| format!("{to}\n  want {want}\n  got  {got}\n")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.concat());
}

#[test]
fn deep_nesting_is_refused() {
    let text = SMALL.replace("threshold=1", &format!("threshold={}", "[".repeat(100_000)));
    assert!(parse(&text).unwrap_err().message.contains("nested too deeply"));
    let text = SMALL.replace("threshold=1", &format!("threshold={}", "a(b=".repeat(100_000)));
    assert!(parse(&text).unwrap_err().message.contains("nested too deeply"));
}

#[test]
fn a_cycle_is_printed_for_whoever_looks_for_it() {
    let mut g = parse(SMALL).unwrap();
    let (x, c, n) = (g.find("x").unwrap(), g.find("c").unwrap(), g.find("n").unwrap());
    let relay = g.add("relay", Op::Identity, &[x]).unwrap();
    g.rewrite(c, g.op(c).clone(), &[relay]).unwrap();
    g.rewrite(relay, Op::Slice(op::Slice { start: vec![0; 3], step: vec![1; 3], shape: vec![2, 4, 4] }), &[n]).unwrap();
    assert!(print(&g, Parameters::Summary).contains("// the graph has a cycle through node `c`"));
    assert_eq!(verify(&g).unwrap_err().to_string(), "the graph has a cycle through node `c`");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_graphs_parse_back_to_themselves(seed: u64, size in 0usize..40) {
        assert_round_trip(&random(seed, size));
    }

    #[test]
    fn mutated_text_never_panics(seed: u64, edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, any::<u8>()), 1..8)) {
        let mut text = print(&random(seed, 8), Parameters::Full).into_bytes();
        for (at, kind, byte) in edits {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => { text.remove(at); }
                2 => text.insert(at, byte),
                3 => text.truncate(at + 1),
                4 => text.insert(at, b"[](){}=%@\",:x-0"[usize::from(byte) % 15]),
                _ => { let piece: Vec<u8> = text[at..(at + usize::from(byte)).min(text.len())].to_vec(); text.splice(at..at, piece); }
            }
        }
        if let Ok(text) = String::from_utf8(text) && let Ok(g) = parse(&text) {
            let _ = verify(&g);
            let _ = parse(&print(&g, Parameters::Full)).map(|back| assert_eq!(print(&back, Parameters::Full), print(&g, Parameters::Full)));
        }
    }
}
