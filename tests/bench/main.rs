//! Measures CRI endpoints against each other.
//!
//! Without an endpoint it starts two daemons on directories of their own, corten and Debian's containerd, with the
//! same OCI runtime, the same network plugins and the same images, and removes both afterwards: that needs root, and
//! is what `contrib/bench` calls. With `--endpoint [NAME=]unix:///…`, given once or more, it measures what listens
//! there; the image must be on the node.
//!
//! With `--listed N` it measures lists of a daemon that knows N pods of one container, none of which runs.
//!
//! All endpoints are measured in each round, in turn, each second round in the other order: what the machine does
//! meanwhile hits them alike, and a ratio means something where a time alone does not.

mod client;
mod daemons;
mod figures;
mod images;
mod instructions;
mod life;
mod listed;
mod plot;
mod pull;
mod reads;
mod subject;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with tests that use all of it"
)]
mod support;
mod weight;

use std::path::PathBuf;

use clap::Parser;

use figures::Figures;
use plot::Run;
use subject::Subject;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures CRI endpoints against each other.
#[derive(Debug, Parser)]
struct Options {
    /// Endpoint to measure, as [NAME=]unix:///PATH; may be repeated. None: corten and containerd are started.
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Vec<String>,
    /// Image of the containers, with a /bin/sh that has sleep.
    #[arg(long, default_value = images::SLEEPER)]
    image: String,
    /// Image to pull, whole and with all but its top layer there already (NAME:whole, NAME:shared).
    #[arg(long, value_name = "NAME")]
    pull: Option<String>,
    /// Pods a round.
    #[arg(long, default_value_t = 25)]
    pods: u32,
    /// Rounds; a figure is the median over all of them.
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Requests at a time in the parallel part.
    #[arg(long, default_value_t = 10)]
    parallel: u32,
    /// Execs a round.
    #[arg(long, default_value_t = 25)]
    execs: u32,
    /// Times that each list, status and statistics call is made in a round.
    #[arg(long, default_value_t = 15)]
    calls: u32,
    /// Parent cgroup of the pods, for endpoints that were given.
    #[arg(long, default_value = "")]
    cgroup_parent: String,
    /// Measure lists of so many pods of one container, which do not run, instead; of corten alone.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    listed: Option<u32>,
    /// Leave out pods with a network of their own.
    #[arg(long)]
    host_network_only: bool,
    /// File for all samples, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File for the plot of the ratios, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Measure nothing: plot what was saved by --json, each file a run of its own.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "plot")]
    draw: Vec<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut options = Options::parse();
    if let (Some(plot), [_, ..]) = (&options.plot, &options.draw[..]) {
        return Ok(std::fs::write(plot, drawn(&options.draw)?)?);
    }
    let mut figures = Figures::default();
    if let Some(count) = options.listed {
        listed::measure(count, options.calls, &mut figures).await?;
    } else if options.endpoint.is_empty() {
        let pair = daemons::Pair::start().await?;
        options.pull = Some(pair.images.layered());
        options.image = pair.images.sleeper();
        let measured = measure(&options, &pair.subjects, &mut figures).await;
        pair.end().await?;
        measured?;
    } else {
        let mut subjects = Vec::new();
        for text in &options.endpoint {
            subjects.push(Subject::connect(text, &options.cgroup_parent).await?);
        }
        measure(&options, &subjects, &mut figures).await?;
    }
    print!("{}", figures.table());
    if let Some(file) = &options.json {
        std::fs::write(file, figures.json())?;
    }
    if let Some(file) = &options.plot {
        std::fs::write(file, plot::draw(&[Run::read(&figures.json())?])?)?;
    }
    Ok(())
}

/// The picture of what was saved. Runs go by their files' names too: their subjects are called alike.
fn drawn(files: &[PathBuf]) -> Outcome<String> {
    let mut runs = Vec::new();
    for file in files {
        let named = |error: String| format!("{}: {error}", file.display());
        let json = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        let mut run = Run::read(&json).map_err(named)?;
        if let (true, Some(stem)) = (files.len() > 1, file.file_stem()) {
            run.name = format!("{}, {}", run.name, stem.to_string_lossy());
        }
        runs.push(run);
    }
    Ok(plot::draw(&runs)?)
}

async fn measure(options: &Options, subjects: &[Subject], figures: &mut Figures) -> Outcome<()> {
    for subject in subjects {
        figures.add_subject(&subject.title());
    }
    // All pods come before all pulls: a file system that has just lost thousands of files is slow to make new ones.
    for round in 0..options.rounds {
        for at in order(round, subjects.len()) {
            let subject = &subjects[at];
            say(options, round, &format!("pods of {}", subject.name));
            let mut sheet = figures.sheet(at);
            life::one_by_one(options, subject, round, &mut sheet).await?;
            life::many_at_once(options, subject, round, &mut sheet).await?;
        }
    }
    let Some(name) = &options.pull else {
        return Ok(());
    };
    for round in 0..options.rounds {
        for at in order(round, subjects.len()) {
            let subject = &subjects[at];
            say(options, round, &format!("pulls of {}", subject.name));
            pull::measure(name, subject, &mut figures.sheet(at)).await?;
        }
    }
    Ok(())
}

/// Each second round is in the other order.
fn order(round: u32, subjects: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..subjects).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

fn say(options: &Options, round: u32, what: &str) {
    eprintln!("round {} of {}: {what}", round + 1, options.rounds);
}
