//! The configuration as text: with every default, as it is now, and as a table for the documentation.

use std::fmt::Write;

use super::{
    error::Origin, options::Config, runtime::Runtime, sources::Loaded, table::OptionSpec,
    value::Shape,
};

const HEAD: &str = "\
# The configuration of corten, with every option at its default.
#
# Lines that begin with # and a space explain; remove the # before an option to set it.
# This file is /etc/corten/corten.toml. Files /etc/corten/corten.d/*.toml are laid over it in the order
# of their names, key by key; then come environment variables, then flags.
# Durations have a unit (ms, s, m, h), sizes too (KiB, MiB, GiB, TiB).
";

/// The default configuration, every option explained and commented out.
pub fn commented() -> String {
    let config = Config::default();
    let mut text = HEAD.to_owned();
    let mut group = "";
    for spec in Config::OPTIONS {
        if spec.shape == Shape::Tables {
            continue;
        }
        if spec.group != group {
            group = spec.group;
            let _ = write!(text, "\n# ---- {group} ----\n");
        }
        explain(&mut text, spec);
        let value = config.get(spec.key).map(|value| value.to_string());
        let _ = writeln!(text, "#{} = {}", spec.key, value.unwrap_or_default());
    }
    let _ = write!(
        text,
        "\n# ---- OCI runtimes ----\n\n# One table for each handler. Tables come last in a TOML file.\n# As a flag: --runtime NAME=PATH\n"
    );
    for (name, runtime) in config.runtimes.iter() {
        let _ = writeln!(text, "#[runtimes.{name}]");
        for spec in Runtime::OPTIONS {
            explain(&mut text, spec);
            let value = runtime.get(spec.key).map(|value| value.to_string());
            let _ = writeln!(text, "#{} = {}", spec.key, value.unwrap_or_default());
        }
    }
    text
}

fn explain(text: &mut String, spec: &OptionSpec) {
    text.push('\n');
    for line in spec.lines() {
        let _ = writeln!(text, "# {line}");
    }
    if !spec.flag.is_empty() {
        let _ = writeln!(text, "# --{} {}, {}", spec.flag, spec.hint, spec.variable());
    }
}

/// A loaded configuration, each value with where it comes from.
pub fn current(loaded: &Loaded) -> String {
    let mut text = String::new();
    let comment = |key: &str| match loaded.origins.get(key) {
        None | Some(Origin::Default) => String::new(),
        Some(origin) => format!("  # {origin}"),
    };
    for spec in Config::OPTIONS
        .iter()
        .filter(|spec| spec.shape != Shape::Tables)
    {
        let value = loaded.config.get(spec.key).map(|value| value.to_string());
        let _ = writeln!(
            text,
            "{} = {}{}",
            spec.key,
            value.unwrap_or_default(),
            comment(spec.key)
        );
    }
    for (name, runtime) in loaded.config.runtimes.iter() {
        let _ = write!(text, "\n[runtimes.{}]\n", toml_key(name));
        for spec in Runtime::OPTIONS {
            let value = runtime.get(spec.key).map(|value| value.to_string());
            let _ = writeln!(
                text,
                "{} = {}{}",
                spec.key,
                value.unwrap_or_default(),
                comment(&format!("runtimes.{name}.{}", spec.key))
            );
        }
    }
    text
}

fn toml_key(name: &str) -> String {
    match name.contains('.') {
        true => format!("{name:?}"),
        false => name.to_owned(),
    }
}

/// Every option as Markdown, for docs/configuration.md.
pub fn markdown() -> String {
    let config = Config::default();
    let mut text = String::new();
    let mut group = "";
    for spec in Config::OPTIONS {
        if spec.group != group {
            group = spec.group;
            let _ = write!(text, "### {group}\n\n");
        }
        let default = match spec.shape {
            Shape::Tables => "[runtimes.corten] [runtimes.runc]".to_owned(),
            _ => config
                .get(spec.key)
                .map(|value| value.to_string())
                .unwrap_or_default(),
        };
        let _ = write!(
            text,
            "**`{}`** · `--{} {}` · `{}` · default `{default}`\n\n{}\n\n",
            spec.key,
            spec.flag,
            spec.hint,
            spec.variable(),
            spec.lines().collect::<Vec<_>>().join("\n")
        );
    }
    let _ = write!(text, "### A table `[runtimes.NAME]`\n\n");
    for spec in Runtime::OPTIONS {
        let default = Runtime::default().get(spec.key);
        let _ = write!(
            text,
            "**`{}`** · default `{}`\n\n{}\n\n",
            spec.key,
            default.map(|value| value.to_string()).unwrap_or_default(),
            spec.lines().collect::<Vec<_>>().join("\n")
        );
    }
    text.trim_end().to_owned() + "\n"
}

impl Config {
    /// All options with their values, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        Self::OPTIONS
            .iter()
            .filter_map(|option| {
                let value = serde_json::to_value(self.get(option.key)?).ok()?;
                Some((option.key.to_owned(), value))
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use std::path::PathBuf;

    fn load(text: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        let file: PathBuf = dir.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        sources.load().unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn uncommented() -> String {
        commented()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => rest,
                _ => line,
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_printed_configuration_is_the_default_one() {
        assert_eq!(load(&commented()).config, Config::default());
        let all = load(&uncommented());
        assert_eq!(all.config, Config::default());
        for spec in Config::OPTIONS
            .iter()
            .filter(|spec| spec.shape != Shape::Tables)
        {
            assert!(all.origins.contains_key(spec.key), "{}", spec.key);
        }
        for spec in Runtime::OPTIONS {
            let key = format!("runtimes.runc.{}", spec.key);
            assert!(all.origins.contains_key(&key), "{key}");
        }
    }

    #[test]
    fn the_current_configuration_reads_back() {
        let loaded = load(
            "pids_limit = 7\ndefault_rlimits = ['nofile=1:2']\n[runtimes.\"a.b\"]\npath = 'x'",
        );
        let text = current(&loaded);
        assert!(text.contains("pids_limit = 7  # /"), "{text}");
        assert_eq!(load(&text).config, loaded.config);
    }

    #[test]
    fn every_option_is_explained() {
        for spec in Config::OPTIONS.iter().chain(Runtime::OPTIONS) {
            let text = spec.lines().collect::<Vec<_>>().join(" ");
            assert!(text.ends_with('.'), "{}: {text}", spec.key);
        }
        let flags: std::collections::BTreeSet<_> =
            Config::OPTIONS.iter().map(|spec| spec.flag).collect();
        assert_eq!(flags.len(), Config::OPTIONS.len());
    }

    #[test]
    fn the_documentation_holds_every_option() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page.contains(&markdown()),
            "replace the options in docs/configuration.md by the output of `corten config --markdown`"
        );
    }
}
