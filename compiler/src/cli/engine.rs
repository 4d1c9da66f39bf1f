//! Which engine runs a network, and what it compiles for.

use super::arguments::{Engine, Memory};
use super::{Failure, output};
use clap::{Args, ValueEnum};
use snn_ir::Limits;
use snn_ir::file::Program;
use snn_runtime::cost::CostModelError;
use snn_runtime::{CostModel, Cpu, EngineKind, Network};
use snnc::files;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The choice of an engine.
#[derive(Args, Debug)]
pub struct EngineArguments {
    /// Engine [default: jit where it has code for the network, reference elsewhere]
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Use no more than these instructions, as a smaller CPU would; the results are the same [default: all that this CPU has]
    #[arg(long, value_enum, value_name = "LEVEL")]
    cpu_level: Option<CpuLevel>,
    /// What kernels cost, as snnc bench --calibrate-cost-model measures it [default: the table that comes with snnc]
    #[arg(long, value_name = "FILE")]
    cost_model: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
}

/// Sets of instructions by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CpuLevel {
    /// 128-bit vectors, on any CPU.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512, VBMI and VNNI.
    Avx512,
    /// x86-64 with AMX.
    Amx,
}

impl From<CpuLevel> for Cpu {
    fn from(level: CpuLevel) -> Self {
        match level {
            CpuLevel::Portable => Cpu::PORTABLE,
            CpuLevel::Avx2 => Cpu::AVX2,
            CpuLevel::Avx512 => Cpu::AVX512,
            CpuLevel::Amx => Cpu::AMX,
        }
    }
}

impl EngineArguments {
    /// How much the network may need.
    pub fn limits(&self) -> Limits {
        self.memory.limits()
    }

    /// Whether the user says how much the network may need.
    pub fn bounds_memory(&self) -> bool {
        self.memory.is_given()
    }

    /// The file that kernels' costs are read from, if there is one.
    pub fn cost_model(&self) -> Option<&Path> {
        self.cost_model.as_deref()
    }

    /// The first option that is given, by its name.
    pub fn given(&self) -> Option<&'static str> {
        let given =
            [(self.engine.is_some(), "--engine"), (self.cpu_level.is_some(), "--cpu-level"), (self.cost_model.is_some(), "--cost-model")];
        given.into_iter().find(|(is, _)| *is).map(|(_, name)| name)
    }

    /// The network made ready to run: by the engine that was asked for, or by the faster one that can.
    pub fn network(&self, program: &Program) -> Result<Network, Failure> {
        let graph = &program.graph;
        if self.engine == Some(Engine::Reference) {
            if self.cpu_level.is_some() || self.cost_model.is_some() {
                return Err(
                    Failure::new("--cpu-level and --cost-model are about the JIT engine").help("leave them or --engine reference out")
                );
            }
            return Network::compile(graph, EngineKind::Reference)
                .map_err(|e| Failure::from_error(&e).while_doing("the engine has no code for this network"));
        }
        let costs = self.costs()?;
        match Network::compile_with(graph, self.cpu()?, &costs) {
            Ok(network) => Ok(network),
            Err(error) if self.engine.is_none() => {
                let network = Network::compile(graph, EngineKind::Reference)
                    .map_err(|e| Failure::from_error(&e).while_doing("no engine can run this network"))?;
                output::note(format_args!("the reference engine runs this network, slowly: {error}"));
                Ok(network)
            }
            Err(error) => Err(Failure::from_error(&error)
                .while_doing("the engine has no code for this network")
                .help("--engine reference runs every network, slowly")),
        }
    }

    /// The CPU level to compile for.
    fn cpu(&self) -> Result<Cpu, Failure> {
        let own = Cpu::detect();
        match self.cpu_level.map(Cpu::from) {
            Some(level) if !own.has(level) => {
                Err(Failure::new(format!("this CPU has no {level}")).help(format!("its level is {own}, the default")))
            }
            level => Ok(level.unwrap_or(own)),
        }
    }

    /// The cost model to choose kernels by.
    fn costs(&self) -> Result<Cow<'static, CostModel>, Failure> {
        let Some(path) = &self.cost_model else { return Ok(Cow::Borrowed(CostModel::shipped())) };
        let model = read_costs(path)?;
        let cpu = self.cpu()?;
        if !cpu.is_portable() && model.costs(cpu).is_none() {
            let failure = Failure::new(format!("{} says nothing about {cpu}", path.display()));
            return Err(failure.help("measure on this machine: snnc bench --calibrate-cost-model -o FILE"));
        }
        Ok(Cow::Owned(model))
    }
}

/// Largest cost model that is read; ours has 4 kB.
const MAX_COST_MODEL: u64 = 1 << 20;

fn read_costs(path: &Path) -> Result<CostModel, Failure> {
    let failed = |f: Failure| f.while_doing(format!("cannot use {}", path.display()));
    let text = files::read_text(path, MAX_COST_MODEL).map_err(|e| failed(Failure::from_error(&e)))?;
    CostModel::from_json(&text).map_err(|e: CostModelError| failed(Failure::from_error(&e)))
}
