//! Data sets for networks with any number of inputs: an array for each, by its name.

use super::npz::Members;
use super::{DataError, Dataset, Labels, Samples, Source, first_bytes, open_file};
use rayon::prelude::*;
use snn_ir::Preprocessing;
use std::path::Path;

/// Samples that are read at the same time.
const TOGETHER: usize = 64;

/// The samples of every input of a network, in the order of its inputs.
#[derive(Debug)]
pub struct Feed {
    datasets: Vec<Dataset>,
}

impl Feed {
    /// Opens what feeds inputs of these names. One input takes any data set; several take an .npz archive with an array
    /// for each, by the input's name.
    ///
    /// # Errors
    /// As [`Dataset::open`], and when an input has no array, or the arrays are not equally long.
    pub fn open(path: &Path, inputs: &[&str]) -> Result<Self, DataError> {
        if let &[only] = inputs {
            return Ok(Dataset::open_members(path, &Members::Samples(Some(only)))?.into());
        }
        let archive = if path.is_dir() { None } else { archive(Source::named(path)?)? };
        let Some(mut archive) = archive else {
            let reason = format!("the network has {} inputs ({}), this feeds one", inputs.len(), inputs.join(", "));
            let arrays: Vec<String> = inputs.iter().map(|i| format!("{i:?}: samples")).collect();
            let help = format!("give an .npz with an array for each: np.savez(file, **{{{}}})", arrays.join(", "));
            return Err(DataError::format(path, reason, help));
        };
        // Each reads at a place of its own.
        let open = |name: &&str| Dataset::new(path, open_file(archive.again()?, &Members::Input { name, all: inputs })?);
        let datasets = inputs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let counts: Vec<usize> = datasets.iter().map(Dataset::len).collect();
        if counts.iter().any(|&c| c != counts[0]) {
            let counts: Vec<String> = inputs.iter().zip(counts).map(|(name, count)| format!("{count} of `{name}`")).collect();
            let reason = format!("there are {} samples", counts.join(", "));
            return Err(DataError::format(path, reason, "the inputs' arrays must be equally long"));
        }
        Ok(Feed { datasets })
    }

    /// As [`Dataset::slice`].
    pub fn slice(self, skip: usize, limit: Option<usize>) -> Self {
        Feed { datasets: self.datasets.into_iter().map(|d| d.slice(skip, limit)).collect() }
    }

    /// File or folder it came from.
    pub fn path(&self) -> &Path {
        self.datasets[0].path()
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.datasets[0].len()
    }

    /// Whether there are none (left).
    pub fn is_empty(&self) -> bool {
        self.datasets[0].is_empty()
    }

    /// The labels, if there are any.
    pub fn labels(&self) -> Option<Labels> {
        self.datasets[0].all_labels()
    }

    /// Whether input `input` gets numbers that preprocessing does not touch.
    pub fn is_preprocessed(&self, input: usize) -> bool {
        self.datasets[input].is_preprocessed()
    }

    /// What a user should know about how samples become inputs of per-sample `shapes`.
    ///
    /// # Errors
    /// As [`Dataset::note`].
    ///
    /// # Panics
    /// When there is not a shape for each input.
    pub fn notes(&self, preprocessing: &Preprocessing, shapes: &[&[usize]]) -> Result<Vec<String>, DataError> {
        assert_eq!(self.datasets.len(), shapes.len(), "data sets and inputs");
        let mut notes = Vec::new();
        for (dataset, shape) in self.datasets.iter().zip(shapes) {
            // What is said of one input is said of all.
            notes.extend(dataset.note(preprocessing, shape)?.filter(|note| !notes.contains(note)));
        }
        Ok(notes)
    }

    /// Sample `index` as the network's inputs of per-sample `shapes`.
    ///
    /// # Errors
    /// As [`Dataset::input`].
    ///
    /// # Panics
    /// When there is no such sample, or not a shape for each input.
    pub fn inputs(&self, index: usize, preprocessing: &Preprocessing, shapes: &[&[usize]]) -> Result<Vec<Vec<f32>>, DataError> {
        assert_eq!(self.datasets.len(), shapes.len(), "data sets and inputs");
        self.datasets.iter().zip(shapes).map(|(d, shape)| d.input(index, preprocessing, shape)).collect()
    }

    /// The inputs of all samples, read on every CPU; `progress` is called after each.
    ///
    /// # Errors
    /// As [`Dataset::input`], for the first sample that fails.
    pub fn all(&self, preprocessing: &Preprocessing, shapes: &[&[usize]], progress: impl Fn() + Sync) -> Result<Samples, DataError> {
        let read = |index| {
            let inputs = self.inputs(index, preprocessing, shapes);
            progress();
            inputs
        };
        let mut samples = Samples::new(shapes.iter().copied());
        let indices: Vec<usize> = (0..self.len()).collect();
        // Threads stay near each other, as compressed files want it.
        let together = self.datasets.iter().map(Dataset::together).fold(TOGETHER, usize::min);
        for near in indices.chunks(together) {
            // Collected before the first error is looked for, so that it is the same every time.
            let some: Vec<Result<_, _>> = near.par_iter().map(|&index| read(index)).collect();
            for sample in some {
                samples.push(sample?)?;
            }
        }
        Ok(samples)
    }
}

impl From<Dataset> for Feed {
    /// Samples for a network of one input.
    fn from(dataset: Dataset) -> Self {
        Feed { datasets: vec![dataset] }
    }
}

/// `source`, if it is an archive.
fn archive(mut source: Source) -> Result<Option<Source>, DataError> {
    let magic = first_bytes(&mut source.file).map_err(|e| DataError::read(&source.path, e))?;
    Ok(magic.starts_with(b"PK").then_some(source))
}
