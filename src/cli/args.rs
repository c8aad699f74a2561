//! The command line as clap sees it.

use clap::{ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};

use super::{
    completion, config, error::CliError, exec, images, load, logs, ps, pull, rm, run, stop, version,
};
use crate::config::{Config, Sources, config_arguments, flags_given, option_arguments};

const EXAMPLES: &str = "\
Examples:
  corten serve                         run the daemon with its configuration
  corten run docker.io/library/alpine echo hello
  corten run -d --name web -p 8080:80 docker.io/library/nginx
  corten ps                            what is running
  corten logs -f web
  corten exec web ls -l /
  corten rm -f web

Without a command corten serves; the options of `corten serve` may then follow at once.
The commands speak to the daemon over its socket: /run/corten/corten.sock, or the one named by
the configuration, CORTEN_LISTEN or --listen.";

/// A Kubernetes container runtime: the daemon, and commands to use it by hand.
#[derive(Parser)]
#[command(name = "corten", version, after_help = EXAMPLES, max_term_width = 110)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) top: Top,
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

/// A subcommand.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Run the daemon (the default)
    Serve(Box<ServeArgs>),
    /// Run a command in a new pod, and show its output
    Run(Box<run::RunArgs>),
    /// List containers, or pods
    Ps(ps::PsArgs),
    /// List images
    Images(images::ImagesArgs),
    /// Download an image
    Pull(pull::PullArgs),
    /// Load images from a file
    Load(load::LoadArgs),
    /// Run a command in a running container
    Exec(exec::ExecArgs),
    /// Show what a container has printed
    Logs(logs::LogsArgs),
    /// Stop containers or pods
    Stop(stop::StopArgs),
    /// Remove containers or pods
    Rm(rm::RmArgs),
    /// Show the versions of command and daemon
    Version(version::VersionArgs),
    /// Print the default configuration, every option explained
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

impl Default for Verb {
    fn default() -> Self {
        Self::Serve(Box::default())
    }
}

impl Verb {
    /// Exit code of a failure that is corten's own: apart from the program's where one is run.
    pub(super) fn failure_code(&self) -> u8 {
        match self {
            Self::Run(_) | Self::Exec(_) => 125,
            _ => 1,
        }
    }
}

/// Options before the subcommand: where the configuration and the socket are, and hidden, those of `serve`.
#[derive(Default)]
pub(super) struct Top(Sources);

/// Options of `serve`.
#[derive(Default)]
pub(super) struct ServeArgs(Sources);

/// The options that every subcommand takes.
const GLOBAL: [&str; 3] = ["config", "config_dir", "listen"];

impl Top {
    /// The sources of the configuration, with the flags of `serve` if that is the subcommand.
    pub(super) fn with(self, verb: &Verb) -> Result<Sources, CliError> {
        let mut sources = self.0;
        match verb {
            Verb::Serve(args) => sources.flags.extend(args.0.flags.iter().cloned()),
            Verb::Config(_) => {}
            _ => {
                if let Some((key, _)) = sources.flags.iter().find(|(key, _)| *key != "listen") {
                    let flag = Config::OPTIONS.iter().find(|spec| spec.key == *key);
                    let flag = flag.map_or(*key, |spec| spec.flag);
                    let problem =
                        format!("--{flag} before the command is an option of the daemon alone");
                    return Err(CliError::Usage(problem, "serve"));
                }
            }
        }
        Ok(sources)
    }
}

impl Args for Top {
    fn augment_args(command: Command) -> Command {
        option_arguments(config_arguments(command)).mut_args(|arg| {
            match GLOBAL.contains(&arg.get_id().as_str()) {
                true if arg.get_id() == "listen" => arg
                    .global(true)
                    .visible_alias("address")
                    .help_heading("Daemon")
                    .help(
                        "Unix socket of the daemon [env: CORTEN_LISTEN] [default: unix:///run/corten/corten.sock]",
                    ),
                true => arg.global(true),
                false => arg.hide(true),
            }
        })
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Top {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut sources = Sources::from_environment();
        flags_given(matches, &mut sources);
        Ok(Self(sources))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let command = command.after_help(
            "Every option can be set in the configuration file, in drop-ins, by a variable or by a flag; the later wins.\n`corten config` prints them all, `corten config --current` those in force here and where each comes from.",
        );
        // A fresh command, so that the options that are global already are not defined twice.
        let own = option_arguments(Command::new("serve"));
        let own: Vec<_> = own
            .get_arguments()
            .filter(|arg| !GLOBAL.contains(&arg.get_id().as_str()))
            .cloned()
            .collect();
        command.args(own)
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut sources = Sources::default();
        flags_given(matches, &mut sources);
        // Global options are seen here too, and counted where they were defined.
        sources.flags.retain(|(key, _)| !GLOBAL.contains(key));
        Ok(Self(sources))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::path::PathBuf;

    fn config(arguments: &[&str]) -> Result<Config, CliError> {
        let all = ["corten", "--config=/dev/null"].iter().chain(arguments);
        let cli = Cli::try_parse_from(all).unwrap_or_else(|e| panic!("{e}"));
        let verb = cli.verb.unwrap_or_default();
        Ok(cli.top.with(&verb)?.load()?.config)
    }

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_serve_stand_before_or_after_it() {
        for arguments in [
            &["--root=/r", "--listen=/l"][..],
            &["--root=/r", "serve", "--listen=/l"],
            &["--listen=/l", "serve", "--root=/r"],
            &["serve", "--root=/r", "--address=/l"],
        ] {
            let config = config(arguments).unwrap();
            assert_eq!(config.root, PathBuf::from("/r"), "{arguments:?}");
            assert_eq!(config.listen.path(), PathBuf::from("/l"), "{arguments:?}");
        }
    }

    #[test]
    fn other_commands_take_the_socket_alone() {
        assert!(config(&["--listen=/l", "ps"]).is_ok());
        assert!(config(&["ps", "--listen=/l"]).is_ok());
        assert!(config(&["--root=/r", "ps"]).unwrap_err().is_usage());
    }
}
