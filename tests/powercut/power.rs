//! The power switch: boots the second kernel, and kills it.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    random::Random,
    support::{Scratch, monitor_program, patience},
};

/// Cuts unless told otherwise.
const CUTS: u64 = 5;
/// The size of the disk, which is sparse.
const DISK: u64 = 1 << 30;
/// Most lines of the journal that are waited for before a cut: a measure of work done, however slow the machine.
const LINES: usize = 40;
/// Most of the time from then on.
const PAUSE: Duration = Duration::from_millis(1500);
/// Most of the time from the start of the daemon, for cuts that come while it recovers.
const DAWN: Duration = Duration::from_secs(6);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

pub(crate) fn run() -> ExitCode {
    let cuts = number("POWERCUT_CUTS").unwrap_or(CUTS);
    let first = number("POWERCUT_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20);
    let machine = Machine::new();
    println!("{cuts} cuts; POWERCUT_SEED={first} is the first");
    for cut in 0..cuts {
        let seed = first + cut;
        let mut random = Random::new(!seed);
        // One in five comes while the daemon looks at what the last one left.
        let (sign, most, lines) = match random.below(5) {
            0 => ("booted", DAWN, 0),
            _ => ("ready", PAUSE, random.below(LINES)),
        };
        let pause = Duration::from_millis(random.next() % most.as_millis() as u64);
        let before = machine.lines();
        let mut kernel = machine.boot(seed, "work");
        if let Err(status) = machine.wait_for(sign, &mut kernel) {
            return machine.failed(
                cut,
                &format!("it ended by itself with {status} before it was {sign}"),
            );
        }
        let deadline = Instant::now() + patience();
        let mut until = None;
        while until.is_none_or(|until| Instant::now() < until) {
            if until.is_none() && (machine.lines() >= before + lines || Instant::now() > deadline) {
                until = Some(Instant::now() + pause);
            }
            if let Some(status) = kernel.try_wait().unwrap() {
                return machine.failed(cut, &format!("it ended by itself with {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        machine.cut(&mut kernel);
        println!(
            "cut {}: seed {seed}, {} lines and {} ms after it was {sign}; found {}",
            cut + 1,
            machine.lines().saturating_sub(before),
            pause.as_millis(),
            machine.found()
        );
    }
    let mut kernel = machine.boot(first + cuts, "last");
    let deadline = Instant::now() + patience();
    let status = loop {
        if let Some(status) = kernel.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            machine.cut(&mut kernel);
            return machine.failed(cuts, "the last check did not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        return machine.failed(cuts, "the last check failed");
    }
    println!("after the last cut: found {}", machine.found());
    println!("test result: ok. {cuts} passed; 0 failed; 0 ignored");
    ExitCode::SUCCESS
}

/// The second kernel's disk, and the directory that both sides see.
struct Machine {
    scratch: Scratch,
    shared: PathBuf,
    disk: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let scratch = Scratch::new();
        let shared = scratch.dir("shared");
        let disk = scratch.join("disk");
        File::create(&disk)
            .and_then(|file| file.set_len(DISK))
            .unwrap();
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4"])
            .arg(&disk)
            .status();
        assert!(made.expect("e2fsprogs is installed").success());
        Self {
            scratch,
            shared,
            disk,
        }
    }

    fn boot(&self, seed: u64, kind: &str) -> Child {
        for name in ["booted", "ready", "uml/corten/pid"] {
            let _ = std::fs::remove_file(self.shared.join(name));
        }
        let said = File::options()
            .create(true)
            .append(true)
            .open(self.scratch.join("said"))
            .unwrap();
        let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/uml/boot");
        let mut command = Command::new(boot);
        command
            .arg(&self.shared)
            .arg(std::env::current_exe().unwrap())
            .args(["guest", &seed.to_string(), kind])
            .env("UML_DISK", &self.disk)
            .env("UML_MEMORY", "1024M")
            .env("CORTEN_CONMON", monitor_program())
            // A name that its directories over there do not share with those here.
            .env("CORTEN_TEST_TAG", format!("cut{:x}", std::process::id()))
            .env("CORTEN_TEST_PATIENCE", patience().as_secs().to_string())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        command.spawn().unwrap()
    }

    /// Waits for a file of the other side.
    fn wait_for(&self, sign: &str, kernel: &mut Child) -> Result<(), ExitStatus> {
        let deadline = Instant::now() + patience();
        loop {
            if self.shared.join(sign).exists() {
                return Ok(());
            }
            if let Some(status) = kernel.try_wait().unwrap() {
                return Err(status);
            }
            if Instant::now() > deadline {
                self.cut(kernel);
                println!("not {sign} within {:?}", patience());
                return Err(ExitStatus::default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the second kernel as nothing but a power cut ends a machine.
    fn cut(&self, kernel: &mut Child) {
        // Its processes are a group of their own, which has the number of the first: the one it wrote down.
        let text = std::fs::read_to_string(self.shared.join("uml/corten/pid")).unwrap_or_default();
        if let Ok(pid) = text.trim().parse::<i32>() {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if line.contains(self.shared.to_str().unwrap()) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = kernel.wait();
    }

    /// How long the journal is.
    fn lines(&self) -> usize {
        let journal = std::fs::read(self.shared.join("journal")).unwrap_or_default();
        journal.iter().filter(|byte| **byte == b'\n').count()
    }

    fn found(&self) -> String {
        let found = std::fs::read_to_string(self.shared.join("ready"));
        found.unwrap_or_else(|_| "nothing yet".to_owned())
    }

    fn failed(&self, cut: u64, why: &str) -> ExitCode {
        let said = std::fs::read(self.scratch.join("said")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(300)..].join("\n"));
        println!("after cut {cut}: {why}");
        if let Some(dir) = std::env::var_os("POWERCUT_KEEP") {
            let _ = std::fs::create_dir_all(&dir);
            let _ = std::fs::copy(&self.disk, Path::new(&dir).join("disk"));
            let _ = std::fs::copy(self.shared.join("journal"), Path::new(&dir).join("journal"));
            let _ = std::fs::copy(self.scratch.join("said"), Path::new(&dir).join("said"));
        }
        println!("test result: FAILED. {cut} passed; 1 failed; 0 ignored");
        ExitCode::FAILURE
    }
}
