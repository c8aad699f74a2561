//! The `corten` command.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--markdown") => print!("{}", corten::config::markdown()),
        _ => print!("{}", corten::config::commented()),
    }
}
