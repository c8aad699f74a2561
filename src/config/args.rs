//! Every option as a flag.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{
    options::Config,
    sources::{DEFAULT_FILE, Sources},
    table::OptionSpec,
    value::Shape,
};

/// Adds `--config` and `--config-dir` to a command.
pub fn config_arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("Configuration file [env: CORTEN_CONFIG] [default: {DEFAULT_FILE}, if there]"))
                .help_heading("Configuration"),
        )
        .arg(
            Arg::new("config_dir")
                .long("config-dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Directory of drop-ins [env: CORTEN_CONFIG_DIR] [default: FILE with .d for .toml, if there]")
                .help_heading("Configuration"),
        )
}

/// Adds a flag for every option to a command.
pub fn option_arguments(command: Command) -> Command {
    let defaults = Config::default();
    command.args(Config::OPTIONS.iter().map(|spec| {
        let action = match spec.shape {
            Shape::List | Shape::Tables => ArgAction::Append,
            Shape::Text | Shape::Bool | Shape::Number => ArgAction::Set,
        };
        Arg::new(spec.key)
            .long(spec.flag)
            .value_name(spec.hint)
            .action(action)
            .num_args(1)
            .help(help(spec, &defaults))
            .help_heading(spec.group)
    }))
}

fn help(spec: &OptionSpec, defaults: &Config) -> String {
    let mut text = spec.lines().collect::<Vec<_>>().join(" ");
    text.push_str(&format!(" [env: {}]", spec.variable()));
    let default = match defaults.get(spec.key) {
        None | Some(toml::Value::Table(_)) => return text,
        Some(toml::Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map_or_else(|| item.to_string(), str::to_owned)
            })
            .collect::<Vec<_>>()
            .join(","),
        Some(toml::Value::String(value)) => value,
        Some(other) => other.to_string(),
    };
    if !default.is_empty() {
        text.push_str(&format!(" [default: {default}]"));
    }
    text
}

/// Takes the flags that were given into `sources`.
pub fn flags_given(matches: &ArgMatches, sources: &mut Sources) {
    if let Ok(Some(path)) = matches.try_get_one::<PathBuf>("config") {
        sources.file = Some(path.clone());
    }
    if let Ok(Some(path)) = matches.try_get_one::<PathBuf>("config_dir") {
        sources.directory = Some(path.clone());
    }
    for spec in Config::OPTIONS {
        if let Ok(Some(values)) = matches.try_get_many::<String>(spec.key) {
            sources.flags.push((spec.key, values.cloned().collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Runtime;

    fn parse(arguments: &[&str]) -> Sources {
        let command = option_arguments(config_arguments(Command::new("corten")));
        command.clone().debug_assert();
        let matches = command.get_matches_from(arguments);
        let mut sources = Sources {
            file: Some("/dev/null".into()),
            ..Sources::default()
        };
        flags_given(&matches, &mut sources);
        sources
    }

    #[test]
    fn every_option_is_a_flag() {
        let config = parse(&[
            "corten",
            "--root=/r",
            "--runtime=crun=/bin/crun",
            "--runtime",
            "runsc",
            "--cni-plugin-dir=/a",
            "--cni-plugin-dir=/b",
            "--host-ports=false",
        ])
        .load()
        .unwrap()
        .config;
        assert_eq!(config.root, PathBuf::from("/r"));
        assert_eq!(config.runtimes["runsc"], Runtime::default());
        assert_eq!(config.cni_plugin_dirs.len(), 2);
        assert!(!config.host_ports);
    }

    #[test]
    fn file_and_directory_are_taken() {
        let sources = parse(&["corten", "--config", "/x.toml", "--config-dir=/y"]);
        assert_eq!(sources.file, Some("/x.toml".into()));
        assert_eq!(sources.directory, Some("/y".into()));
    }
}
