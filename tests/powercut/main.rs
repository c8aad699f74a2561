//! Power cuts: the second kernel with a disk of its own is killed at random moments while a daemon in it pulls,
//! loads, creates and removes; started again, it must find everything that it had acknowledged, and nothing
//! damaged.
//!
//! Without arguments this is the machine's power switch: it makes a disk, boots the second kernel on it again and
//! again (tests/uml/boot) and kills it. `guest` is what runs in there: it checks what it finds against a journal
//! that lies outside of the disk, and goes on working until the light goes out.
//!
//! `POWERCUT_CUTS` says how many cuts there are, `POWERCUT_SEED` which.

mod check;
mod guest;
mod images;
mod journal;
mod power;
mod random;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with tests that use all of it"
)]
mod support;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["guest", seed, kind] => guest::run(seed.parse().expect("a seed"), kind == "last"),
        [] => power::run(),
        // What cargo tells a program of tests, which this is not.
        _ => {
            eprintln!("usage: powercut, or powercut guest SEED work|last inside the second kernel");
            ExitCode::from(2)
        }
    }
}
