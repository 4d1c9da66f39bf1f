//! How answers are counted.

use super::super::fidelity::Comparison;
use super::super::task::{Targets, Task, top1};
use crate::outputs::Closing;

/// Answers of one network to one output, over samples.
#[derive(Clone, Default)]
pub(super) struct Score {
    pub right: usize,
    pub agreed: usize,
    pub answers: usize,
    pub against_ann: Comparison,
    pub against_labels: Comparison,
}

/// Scores over samples.
pub(super) struct Scores {
    pub ann: Score,
    /// One per T and output.
    pub snn: Vec<Vec<Score>>,
}

/// How one output is scored.
pub(super) struct Scoring<'a> {
    pub task: Task,
    pub targets: Option<&'a Targets>,
    pub closing: Closing,
    /// Whether the ANN's answers are in the unit of the SNN's.
    pub comparable: bool,
    /// The ANN's answer above which it says yes.
    pub ann_threshold: f32,
}

impl Scoring<'_> {
    /// Adds the answers of one network to sample `index`; `ann` are the ANN's.
    pub fn add(&self, score: &mut Score, index: usize, answer: &[f32], ann: Option<&[f32]>, threshold: f32) {
        let agree = |a: &[f32], b: &[f32]| match self.task {
            Task::Classes => (usize::from(top1(a) == top1(b)), 1),
            Task::Binary => {
                let agree = a.iter().zip(b).filter(|&(&a, &b)| (a > threshold) == (b > self.ann_threshold));
                (agree.count(), a.len())
            }
            Task::Values => (0, 0),
        };
        if let Some(ann) = ann {
            score.agreed += agree(answer, ann).0;
            if self.comparable {
                score.against_ann.add(answer, ann);
            }
        }
        score.answers += agree(answer, answer).1;
        let row = |len: usize| index * len..(index + 1) * len;
        match self.targets {
            Some(Targets::Classes(classes)) => score.right += usize::from(top1(answer) == classes[index]),
            Some(Targets::Binary(yes)) => {
                let right = answer.iter().zip(&yes[row(answer.len())]).filter(|&(&a, &yes)| (a > threshold) == yes);
                score.right += right.count();
            }
            Some(Targets::Values(values)) => {
                let answer: Vec<f32> = answer.iter().map(|&a| self.closing.apply(a)).collect();
                score.against_labels.add(&answer, &values[row(answer.len())]);
            }
            None => {}
        }
    }
}

impl Score {
    pub fn share(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.answers.max(1) as f64
    }
}
