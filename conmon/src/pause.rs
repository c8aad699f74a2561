//! The first process of a PID namespace that has no better one: it reaps, and leaves when told to.

use std::process::ExitCode;

use crate::sys;

pub(crate) fn run() -> ExitCode {
    loop {
        match sys::wait_signal(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]) {
            Ok(libc::SIGCHLD) => {
                while let Some((pid, _)) = sys::peek_child() {
                    sys::reap(pid);
                }
            }
            Ok(_) => return ExitCode::SUCCESS,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                eprintln!("corten-conmon: cannot wait for signals: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}
