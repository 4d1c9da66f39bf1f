//! How 8-bit pixels become a network's input, as the command line says it.

use super::arguments::{LayoutName, Scale, finite, positive, resize};
use super::{Failure, output};
use clap::Args;
use snn_ir::{Graph, NodeId, Preprocessing};
use snnc::calibrate::synthetic::Assumed;
use snnc::data::preprocess::{Misfit, Target, likely_layout};
use snnc::frontend::onnx::Facts;

/// How 8-bit pixels become the network's input; stored with the network.
#[derive(Args, Debug)]
#[command(next_help_heading = "Preprocessing of 8-bit pixels, stored with the network: (p · scale − mean) / std")]
pub struct PreprocessingArguments {
    /// Mean per channel, or one for all
    #[arg(long, value_name = "M,..", value_delimiter = ',', value_parser = finite, allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// Standard deviation per channel, or one for all
    #[arg(long, value_name = "S,..", value_delimiter = ',', value_parser = positive)]
    std: Vec<f32>,
    /// unit takes pixels as 0..1, raw as 0..255 [default: unit; raw where the model's input holds integers]
    #[arg(long, value_enum)]
    scale: Option<Scale>,
    /// Layout of the network's input [default: by its shape]
    #[arg(long, value_enum)]
    layout: Option<LayoutName>,
    /// Resize images first (bilinear with antialiasing, as Pillow does)
    #[arg(long, value_name = "N|HxW", value_parser = resize)]
    resize: Option<[usize; 2]>,
}

impl PreprocessingArguments {
    /// Whether the user says how pixels become inputs; the layout says nothing about their values.
    fn is_stated(&self) -> bool {
        self.scale.is_some() || !self.mean.is_empty() || !self.std.is_empty() || self.resize.is_some()
    }
}

/// How pixels become inputs of `graph`, and what is therefore assumed of inputs that nobody has shown. It must suit one of
/// the inputs at least; others may be fed with numbers.
///
/// # Errors
/// When it suits none.
pub fn preprocessing(arguments: &PreprocessingArguments, graph: &Graph, facts: &Facts) -> Result<(Preprocessing, Assumed), Failure> {
    let shape = graph.inputs().first().map(|&i| graph.ty(i).shape.clone()).unwrap_or_default();
    let integer = facts.inputs.iter().zip(&facts.integer_inputs).find_map(|(input, kind)| Some((&input.tensor, (*kind)?)));
    let scale = match (arguments.scale, integer) {
        (Some(scale), None) => scale,
        (Some(scale), Some((input, kind))) => {
            if scale == Scale::Unit {
                output::note(format_args!("input `{input}` holds {kind}, but --scale unit divides pixels by 255"));
            }
            scale
        }
        (None, Some((input, kind))) => {
            let rest = if facts.inputs.len() > 1 { ", as are those of the other inputs" } else { "" };
            output::note(format_args!(
                "input `{input}` holds {kind}: 8-bit pixels are taken as they are, 0..255{rest} (--scale unit would divide them by 255)"
            ));
            Scale::Raw
        }
        (None, None) => Scale::default(),
    };
    let preprocessing = Preprocessing {
        layout: arguments.layout.map_or_else(|| likely_layout(&shape), Into::into),
        scale: scale.factor(),
        mean: arguments.mean.clone(),
        std: arguments.std.clone(),
        resize: arguments.resize,
    };
    if arguments.is_stated() {
        let check = |&input: &NodeId| Target::new(&graph.ty(input).shape, preprocessing.layout).check(&preprocessing);
        let misfits: Vec<Misfit> = graph.inputs().iter().map_while(|input| check(input).err()).collect();
        if let Some(misfit) = misfits.first().filter(|_| misfits.len() == graph.inputs().len()) {
            return Err(Failure::new(misfit.to_string()));
        }
    }
    let assumed = match arguments.is_stated() || integer.is_some() {
        true => Assumed::Pixels(preprocessing.clone()),
        false => Assumed::Standardised,
    };
    Ok((preprocessing, assumed))
}
