//! `cargo xtask bench kernel`: what the sensor costs those it watches and those it does not.
//! `cargo xtask bench collector`: what the collector takes in, keeps and answers ([`collector`]).
//!
//! The first has three parts. In virtual machines whose clock counts instructions: system calls, without and with
//! the sensor, and with its peers. On this machine's own kernel, by the wall clock: real work. And
//! the sensor itself: memory, idle time, records a second. Every number printed or written to
//! `docs/performance.md` comes from the run that prints it.

mod boots;
mod calls;
mod collector;
mod daemon;
mod guests;
mod idle;
mod page;
mod peers;
mod work;

use anyhow::Result;

use crate::setup;
use crate::vm::kernel;

use guests::Subject;
use page::Part;

/// Kernels that are measured unless others are asked for.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// What to measure.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// What the kernel side costs: system calls, real work, and the sensor itself
    Kernel(Options),
    /// What the collector takes in, keeps and answers, beside the disk, DuckDB and chdb
    Collector(collector::Options),
}

/// Arguments of `cargo xtask bench kernel`.
#[derive(clap::Args)]
pub struct Options {
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// Kernel versions of the virtual machines
    #[arg(long, num_args = 1.., default_values = KERNELS)]
    kernels: Vec<String>,
    /// Runs of the virtual machines, to show how well they repeat
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Rounds of real work; an odd number has a middle
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// In the virtual machines, only these; all unless given
    #[arg(long, num_args = 1.., conflicts_with_all = ["write", "quick"])]
    subjects: Vec<Subject>,
    /// In the virtual machines, only the sensor in its best tier
    #[arg(long)]
    quick: bool,
    /// Write the figures to docs/performance.md
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

/// Runs a benchmark.
pub fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Kernel(options) => kernel(options),
        Bench::Collector(options) => collector::run(options),
    }
}

fn kernel(options: &Options) -> Result<()> {
    setup::toolchain()?;
    for part in Part::ALL {
        if options.only.is_some_and(|only| only != part) {
            continue;
        }
        let (arguments, figures) = match part {
            Part::Vm => in_machines(options)?,
            Part::Machine => (
                format!(" --rounds {}", options.rounds),
                work::measure(options.rounds)?,
            ),
            Part::Sensor => (String::new(), idle::measure()?),
        };
        let text = format!(
            "{}\n{figures}",
            page::origin(part.place(), &arguments, options.write)?
        );
        println!("\n{text}");
        if options.write {
            page::write(part.place(), &text)?;
        }
    }
    Ok(())
}

/// The arguments worth repeating, and the figures.
fn in_machines(options: &Options) -> Result<(String, String)> {
    setup::machines()?;
    let kernels = options
        .kernels
        .iter()
        .map(|version| kernel::fetch(version))
        .collect::<Result<Vec<_>>>()?;
    let subjects: &[Subject] = if options.quick {
        &[Subject::Sensor]
    } else if options.subjects.is_empty() {
        &Subject::ALL
    } else {
        &options.subjects
    };
    let rounds = boots::measure(&kernels, subjects, options.repeat)?;
    let arguments = format!(
        " --kernels {} --repeat {}",
        options.kernels.join(" "),
        options.repeat
    );
    let peers = peers::fetch()?.versions.join(", ");
    let text = format!("Peers: {peers}.\n\n{}", calls::report(&rounds)?);
    Ok((arguments, text))
}
