//! The command line, as runc has it.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use super::{error::Failure, report::Log};

/// Where containers are kept on record unless `--root` says otherwise.
const ROOT: &str = "/run/corten-runtime";

/// A whole command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Directory of the containers' records.
    pub(super) root: PathBuf,
    /// Where errors go.
    pub(super) log: Log,
    /// What to do.
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Version,
    Features,
    Create(Create),
    Start { id: String },
    State { id: String },
    Kill { id: String, signal: i32, whom: Whom },
    Delete { id: String, force: Force },
    Exec(Exec),
    Update { id: String, resources: PathBuf },
    Pause { id: String },
    Resume { id: String },
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// The first process.
    First,
    /// Every process.
    All,
}

/// What becomes of a container that still runs when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// It stays, and that is an error.
    Refuse,
    /// It is killed.
    Kill,
}

/// Making a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Create {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) console_socket: Option<PathBuf>,
}

/// A further process in a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) process: PathBuf,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) console_socket: Option<PathBuf>,
}

impl Call {
    /// Reads what follows the program's name.
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut rest = Rest(arguments);
        let mut root = PathBuf::from(ROOT);
        let mut log = Log::default();
        let verb = loop {
            match rest.word()? {
                Word::Option("root", value) => root = rest.value("root", value)?.into(),
                Word::Option("log", value) => {
                    log.path = Some(rest.value("log", value)?.into());
                }
                Word::Option("log-format", value) => {
                    let format = rest.value("log-format", value)?;
                    log.json = match format.to_str() {
                        Some("json") => true,
                        Some("text") => false,
                        _ => return Err(usage("--log-format is json or text")),
                    };
                }
                Word::Option("debug", None) => {}
                Word::Option("systemd-cgroup", None) => {
                    return Err(Failure::Unsupported("--systemd-cgroup".into()));
                }
                Word::Option("version" | "v", None) => break "--version",
                Word::Option(name, _) => return Err(unknown(name)),
                Word::Plain(verb) => {
                    break verb.to_str().ok_or_else(|| usage("no such command"))?;
                }
                Word::End => return Err(usage("a command is missing")),
            }
        };
        let command = Command::parse(verb, rest)?;
        Ok(Self { root, log, command })
    }
}

impl Command {
    fn parse(verb: &str, mut rest: Rest<'_>) -> Result<Self, Failure> {
        let mut plain = Vec::new();
        let (mut bundle, mut process, mut resources) = (None, None, None);
        let (mut pid_file, mut console_socket) = (None, None);
        let (mut whom, mut force) = (Whom::First, Force::Refuse);
        loop {
            match rest.word()? {
                Word::Option(name, value) => {
                    let place: &mut Option<PathBuf> = match (verb, name) {
                        ("create", "bundle" | "b") => &mut bundle,
                        ("create" | "exec", "pid-file") => &mut pid_file,
                        ("create" | "exec", "console-socket") => &mut console_socket,
                        ("exec", "process" | "p") => &mut process,
                        ("update", "resources" | "r") => &mut resources,
                        ("exec", "detach" | "d") => continue,
                        ("kill", "all" | "a") => {
                            whom = Whom::All;
                            continue;
                        }
                        ("delete", "force" | "f") => {
                            force = Force::Kill;
                            continue;
                        }
                        _ => return Err(unknown(name)),
                    };
                    *place = Some(rest.value(name, value)?.into());
                }
                Word::Plain(word) => plain.push(word),
                Word::End => break,
            }
        }
        let wanted = match verb {
            "--version" | "features" => 0..=0,
            "kill" => 1..=2,
            _ => 1..=1,
        };
        if !wanted.contains(&plain.len()) {
            return Err(usage(&format!("{verb} is given {} words", plain.len())));
        }
        let id = || {
            plain
                .first()
                .map_or_else(|| Ok(String::new()), |id| id_of(id))
        };
        let missing = |option: &str| usage(&format!("{verb} needs {option}"));
        Ok(match verb {
            "--version" => Self::Version,
            "features" => Self::Features,
            "create" => Self::Create(Create {
                id: id()?,
                bundle: bundle.unwrap_or_else(|| ".".into()),
                pid_file,
                console_socket,
            }),
            "start" => Self::Start { id: id()? },
            "state" => Self::State { id: id()? },
            "kill" => Self::Kill {
                id: id()?,
                signal: plain
                    .get(1)
                    .map_or(Ok(libc::SIGTERM), |word| signal(word))?,
                whom,
            },
            "delete" => Self::Delete { id: id()?, force },
            "exec" => Self::Exec(Exec {
                id: id()?,
                process: process.ok_or_else(|| missing("--process"))?,
                pid_file,
                console_socket,
            }),
            "update" => Self::Update {
                id: id()?,
                resources: resources.ok_or_else(|| missing("--resources"))?,
            },
            "pause" => Self::Pause { id: id()? },
            "resume" => Self::Resume { id: id()? },
            other => return Err(usage(&format!("there is no command {other:?}"))),
        })
    }
}

/// An ID becomes the name of a directory.
fn id_of(word: &OsStr) -> Result<String, Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    match word.to_str() {
        Some(id) if id.bytes().all(plain) && !id.is_empty() && !id.starts_with('.') => {
            Ok(id.to_owned())
        }
        _ => Err(usage(&format!("{word:?} is no container ID"))),
    }
}

fn signal(word: &OsStr) -> Result<i32, Failure> {
    let text = word.to_string_lossy();
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=64 => Ok(number),
            _ => Err(usage(&format!("there is no signal {number}"))),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = match upper.strip_prefix("SIG") {
        Some(_) => upper.clone(),
        None => format!("SIG{upper}"),
    };
    name.parse::<nix::sys::signal::Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| usage(&format!("there is no signal {text:?}")))
}

fn usage(text: &str) -> Failure {
    Failure::Usage(text.to_owned())
}

fn unknown(option: &str) -> Failure {
    usage(&format!("there is no option --{option} here"))
}

/// What is not read yet.
struct Rest<'a>(&'a [OsString]);

enum Word<'a> {
    /// Without its dashes, and what follows `=`.
    Option(&'a str, Option<&'a OsStr>),
    Plain(&'a OsStr),
    End,
}

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<&'a OsStr> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn word(&mut self) -> Result<Word<'a>, Failure> {
        let Some(word) = self.next() else {
            return Ok(Word::End);
        };
        let bytes = word.as_bytes();
        let Some(option) = bytes.strip_prefix(b"-").filter(|name| !name.is_empty()) else {
            return Ok(Word::Plain(word));
        };
        let option = option.strip_prefix(b"-").unwrap_or(option);
        let (name, value) = match option.iter().position(|b| *b == b'=') {
            None => (option, None),
            Some(at) => (&option[..at], Some(OsStr::from_bytes(&option[at + 1..]))),
        };
        let name = std::str::from_utf8(name).map_err(|_| usage("an option is no text"))?;
        Ok(Word::Option(name, value))
    }

    fn value(&mut self, name: &str, given: Option<&'a OsStr>) -> Result<&'a OsStr, Failure> {
        given
            .or_else(|| self.next())
            .ok_or_else(|| usage(&format!("--{name} needs a value")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(line: &str) -> Result<Call, Failure> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Call::parse(&words)
    }

    #[test]
    fn reads_what_daemon_and_monitor_write() {
        let call = parse(
            "--root /r --log-format json --log /l create --bundle /b --pid-file /p --console-socket c abc",
        )
        .unwrap();
        assert_eq!(call.root, PathBuf::from("/r"));
        assert!(call.log.json && call.log.path == Some("/l".into()));
        let create = Create {
            id: "abc".into(),
            bundle: "/b".into(),
            pid_file: Some("/p".into()),
            console_socket: Some("c".into()),
        };
        assert_eq!(call.command, Command::Create(create));
        let exec = parse("exec --process=/x --pid-file /p --detach abc").unwrap();
        assert!(
            matches!(exec.command, Command::Exec(Exec { process, .. }) if process == Path::new("/x"))
        );
        let update = parse("update --resources - abc").unwrap();
        assert!(
            matches!(update.command, Command::Update { resources, .. } if resources == Path::new("-"))
        );
        assert_eq!(parse("--version").unwrap().command, Command::Version);
        assert_eq!(parse("features").unwrap().command, Command::Features);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (line, number, whom) in [
            ("kill abc", libc::SIGTERM, Whom::First),
            ("kill abc 9", 9, Whom::First),
            ("kill --all abc KILL", libc::SIGKILL, Whom::All),
            ("kill abc sigusr1", libc::SIGUSR1, Whom::First),
            ("kill abc 64", 64, Whom::First),
        ] {
            let id = "abc".to_owned();
            let expected = Command::Kill {
                id,
                signal: number,
                whom,
            };
            assert_eq!(parse(line).unwrap().command, expected, "{line}");
        }
        for wrong in ["kill abc 0", "kill abc 65", "kill abc NOPE", "kill"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            "",
            "fly abc",
            "create",
            "create --bundle",
            "create a b",
            "start ..",
            "start a/b",
            "exec abc",
            "state --force abc",
            "--log-format xml state abc",
            "features abc",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(
            parse("--systemd-cgroup state abc"),
            Err(Failure::Unsupported(_))
        ));
    }
}
