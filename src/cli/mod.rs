//! The command `corten`: one file per subcommand, and what they share.

mod args;
mod client;
mod completion;
mod config;
mod error;
mod exec;
mod images;
mod load;
pub(crate) mod logs;
mod lookup;
mod output;
mod parse;
mod progress;
mod ps;
mod pull;
mod rm;
mod run;
mod serve;
mod stop;
mod time;
mod version;

use std::{error::Error, process::ExitCode};

use args::{Cli, Verb};
use clap::{CommandFactory, FromArgMatches};
use error::CliError;

/// Runs the daemon until it is told to stop.
pub type Serve = fn(crate::config::Config) -> Result<(), Box<dyn Error + Send + Sync>>;

/// Exit code for arguments that make no sense, as clap uses it.
const USAGE: u8 = 2;

/// Parses the process's arguments and does what they say.
pub fn main(daemon: Serve) -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    let failure = cli.verb.as_ref().map_or(1, Verb::failure_code);
    match dispatch(cli, daemon) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            output::complain(&e);
            ExitCode::from(if e.is_usage() { USAGE } else { failure })
        }
    }
}

fn dispatch(cli: Cli, daemon: Serve) -> Result<u8, CliError> {
    let Cli { top, verb } = cli;
    let verb = verb.unwrap_or_default();
    let sources = top.with(&verb)?;
    match &verb {
        Verb::Run(args) => args.check()?,
        Verb::Exec(args) => args.check()?,
        _ => {}
    }
    match verb {
        Verb::Serve(_) => serve::run(&sources, daemon).map(|()| 0),
        Verb::Config(args) => config::run(&args, &sources).map(|()| 0),
        Verb::Completion(args) => completion::run(&args).map(|()| 0),
        Verb::Run(args) => client::with(&sources, async |context| run::run(context, args).await),
        Verb::Ps(args) => client::with(&sources, async |context| ps::run(context, args).await),
        Verb::Images(args) => {
            client::with(&sources, async |context| images::run(context, args).await)
        }
        Verb::Pull(args) => client::with(&sources, async |context| pull::run(context, args).await),
        Verb::Load(args) => client::with(&sources, async |context| load::run(context, args).await),
        Verb::Exec(args) => client::with(&sources, async |context| exec::run(context, args).await),
        Verb::Logs(args) => client::with(&sources, async |context| logs::run(context, args).await),
        Verb::Stop(args) => client::with(&sources, async |context| stop::run(context, args).await),
        Verb::Rm(args) => client::with(&sources, async |context| rm::run(context, args).await),
        Verb::Version(args) => version::run(args, &sources),
    }
}
