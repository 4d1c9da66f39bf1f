//! What an output is for, which decides how it is scored.

use crate::data::Labels;
use serde::Serialize;
use snn_ir::Graph;
use snn_ir::signal::Dims;
use thiserror::Error;

/// What an output answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One of several classes: the largest score is the answer.
    Classes,
    /// Yes or no, for each element.
    Binary,
    /// Numbers.
    Values,
}

/// What output `output` of `graph` is for by its shape: it classifies when it is one row of scores; not when it is a
/// single number, a map, or as large as the (largest) input.
///
/// # Panics
/// When there is no such output.
pub fn task(graph: &Graph, output: usize) -> Task {
    let ty = graph.ty(graph.outputs()[output]);
    let long_axes = ty.shape.iter().filter(|&&d| d > 1).count();
    let largest = graph.inputs().iter().map(|&input| graph.ty(input).len()).max();
    if long_axes == 1 && largest != Some(ty.len()) { Task::Classes } else { Task::Values }
}

/// What an output should answer, per sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// The right class.
    Classes(Vec<usize>),
    /// Whether the answer is yes, for every element, sample after sample.
    Binary(Vec<bool>),
    /// The right numbers, sample after sample.
    Values(Vec<f32>),
}

impl Targets {
    /// The task that they set.
    pub fn task(&self) -> Task {
        match self {
            Targets::Classes(_) => Task::Classes,
            Targets::Binary(_) => Task::Binary,
            Targets::Values(_) => Task::Values,
        }
    }
}

/// Why labels do not suit an output.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum LabelError {
    /// A label is beyond the network's classes.
    #[error("sample {index} has label {label}, but the network has {classes} outputs")]
    Class {
        /// The sample.
        index: usize,
        /// Its label, offset included.
        label: i64,
        /// Elements of the output.
        classes: usize,
    },
    /// A label is no class index, but the output has classes.
    #[error("the labels are no classes: that of sample {index} is {label}")]
    NoClass {
        /// The sample.
        index: usize,
        /// Its label, offset included.
        label: f64,
    },
    /// Labels were not read.
    #[error("the labels are not read: {0}")]
    Unread(String),
    /// Labels are numbers of another shape than the output.
    #[error("labels are numbers of shape [{got}] for each sample, the output has the shape [{expected}]")]
    Shape {
        /// Of the labels.
        got: String,
        /// Of the output.
        expected: String,
    },
    /// A label is not finite.
    #[error("the label of sample {index} is not finite")]
    NotFinite {
        /// The sample.
        index: usize,
    },
}

impl LabelError {
    /// What the user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            LabelError::Class { .. } => "are these the network's classes? --label-offset 1 suits networks with a background class",
            LabelError::NoClass { .. } => "a label is the index of its class, a whole number from 0; --label-offset 1 adds 1 to each",
            LabelError::Unread(_) => "leave samples out: snnc reads arrays of samples of any length, labels up to that one",
            LabelError::Shape { .. } => {
                "labels are one class index for each sample (a whole number from 0), or numbers of the output's shape; \
                 --output-name chooses another output"
            }
            LabelError::NotFinite { .. } => "leave the sample out",
        }
    }
}

/// What `labels` with `offset` added ask of an output of `shape`, which by its own is for `task`. Class indices ask for
/// classes, of a single element for yes or no where all are 0 or 1, for numbers elsewhere. Numbers of the output's shape
/// ask for numbers; for yes or no where all are 0 or 1; for classes where each sample has a single 1.
///
/// # Errors
/// [`LabelError`].
pub fn targets(labels: &Labels, offset: i64, shape: &[usize], task: Task) -> Result<Targets, LabelError> {
    let elements: usize = shape.iter().product();
    let (own_shape, values) = match labels {
        Labels::Classes(classes) if elements > 1 => {
            let class = |(index, &label): (usize, &u32)| class(index, i64::from(label) + offset, elements);
            return classes.iter().enumerate().map(class).collect::<Result<_, _>>().map(Targets::Classes);
        }
        Labels::Classes(classes) => (&[][..], classes.iter().map(|&l| (i64::from(l) + offset) as f32).collect()),
        Labels::Unread(reason) => return Err(LabelError::Unread(reason.clone())),
        Labels::Values { shape, data } => (&shape[..], data.iter().map(|v| v + offset as f32).collect::<Vec<f32>>()),
    };
    let each = own_shape.iter().product::<usize>().max(1);
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(LabelError::NotFinite { index: at / each });
    }
    // Class indices of other types than unsigned ones.
    if each == 1 && elements > 1 {
        let class = |(index, &label): (usize, &f32)| match label.fract() == 0.0 {
            true => class(index, label as i64, elements),
            false => Err(LabelError::NoClass { index, label: label.into() }),
        };
        return values.iter().enumerate().map(class).collect::<Result<_, _>>().map(Targets::Classes);
    }
    let long = |shape: &[usize]| shape.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    if long(own_shape) != long(shape) {
        return Err(LabelError::Shape { got: Dims(own_shape).to_string(), expected: Dims(shape).to_string() });
    }
    if values.iter().any(|&v| v != 0.0 && v != 1.0) {
        return Ok(Targets::Values(values));
    }
    let one_hot = |row: &[f32]| row.iter().filter(|&&v| v == 1.0).count() == 1;
    if task == Task::Classes && values.chunks(each).all(one_hot) {
        let place = |row: &[f32]| row.iter().position(|&v| v == 1.0).unwrap_or_default();
        return Ok(Targets::Classes(values.chunks(each).map(place).collect()));
    }
    Ok(Targets::Binary(values.iter().map(|&v| v == 1.0).collect()))
}

fn class(index: usize, label: i64, classes: usize) -> Result<usize, LabelError> {
    if label < 0 {
        return Err(LabelError::NoClass { index, label: label as f64 });
    }
    usize::try_from(label).ok().filter(|&l| l < classes).ok_or(LabelError::Class { index, label, classes })
}

/// Index of the largest element, the lowest among equals; not-a-number never wins.
pub fn top1(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, &v) in values.iter().enumerate() {
        if v > values[best] || values[best].is_nan() && !v.is_nan() {
            best = i;
        }
    }
    best
}

/// The 95 % confidence interval of a share (Wilson 1927), in percent.
pub fn wilson(count: usize, of: usize) -> [f64; 2] {
    let (n, p, z) = (of.max(1) as f64, count as f64 / of.max(1) as f64, 1.959_964);
    let center = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [center - half, center + half].map(|end| 100.0 * (end / (1.0 + z * z / n)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(shape: &[usize], data: &[f32]) -> Labels {
        Labels::Values { shape: shape.into(), data: data.into() }
    }

    #[test]
    fn labels_say_what_is_asked() {
        let asked = |labels: &Labels, shape: &[usize], task| targets(labels, 0, shape, task);
        let indices = Labels::Classes(vec![0, 1, 1]);
        assert_eq!(asked(&indices, &[2], Task::Classes), Ok(Targets::Classes(vec![0, 1, 1])));
        assert_eq!(asked(&indices, &[1], Task::Values), Ok(Targets::Binary(vec![false, true, true])));
        assert_eq!(asked(&indices, &[], Task::Values), Ok(Targets::Binary(vec![false, true, true])));
        assert_eq!(asked(&Labels::Classes(vec![20, 31]), &[1], Task::Values), Ok(Targets::Values(vec![20.0, 31.0])));
        assert_eq!(asked(&values(&[], &[0.0, 2.0]), &[3], Task::Classes), Ok(Targets::Classes(vec![0, 2])));
        assert_eq!(asked(&values(&[], &[0.0, 1.0]), &[1], Task::Values), Ok(Targets::Binary(vec![false, true])));
        assert_eq!(asked(&values(&[1], &[0.25, 1.0]), &[1], Task::Values), Ok(Targets::Values(vec![0.25, 1.0])));
        let rows = values(&[2], &[0.0, 1.0, 1.0, 0.0]);
        assert_eq!(asked(&rows, &[2], Task::Classes), Ok(Targets::Classes(vec![1, 0])));
        assert_eq!(asked(&values(&[2], &[1.0, 1.0]), &[2], Task::Classes), Ok(Targets::Binary(vec![true, true])));
    }

    #[test]
    fn labels_that_do_not_suit_the_output_are_refused() {
        assert!(matches!(targets(&Labels::Classes(vec![2]), 1, &[3], Task::Classes), Err(LabelError::Class { label: 3, .. })));
        assert!(matches!(targets(&values(&[4], &[0.5; 4]), 0, &[3], Task::Classes), Err(LabelError::Shape { .. })));
        assert_eq!(targets(&values(&[], &[0.5]), 0, &[3], Task::Classes), Err(LabelError::NoClass { index: 0, label: 0.5 }));
        assert!(matches!(targets(&values(&[1], &[0.0, f32::NAN]), 0, &[1], Task::Values), Err(LabelError::NotFinite { index: 1 })));
        assert_eq!(targets(&values(&[], &[-1.0]), 0, &[3], Task::Classes), Err(LabelError::NoClass { index: 0, label: -1.0 }));
        assert_eq!(targets(&values(&[], &[-1.0]), 1, &[3], Task::Classes), Ok(Targets::Classes(vec![0])));
    }

    #[test]
    fn the_confidence_interval_of_a_share_is_wilsons() {
        // As tabulated: 1 of 10.
        let [low, high] = wilson(1, 10);
        assert!((low - 1.79).abs() < 0.01 && (high - 40.42).abs() < 0.01, "{low} {high}");
        assert_eq!(wilson(0, 50)[0], 0.0);
    }

    #[test]
    fn the_lowest_of_equal_classes_wins() {
        assert_eq!(top1(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(top1(&[f32::NAN, -1.0, f32::NAN]), 1);
        assert_eq!(top1(&[]), 0);
    }
}
