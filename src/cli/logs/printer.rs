//! Turning log lines back into what the container wrote.

use std::io::{self, Write};

use super::line::{Stream, parse};
use crate::cli::{error::CliError, time::parse_rfc3339};

/// What to print of a log.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Show {
    /// Put the time before each line.
    pub(in crate::cli) timestamps: bool,
    /// Leave out what is older, in nanoseconds since 1970.
    pub(in crate::cli) since: Option<i64>,
}

/// Writes each line to the output it came from.
pub(in crate::cli) struct Printer<O, E> {
    out: O,
    err: E,
    show: Show,
    /// For stdout and stderr: the last line printed goes on.
    open: [bool; 2],
}

impl<O: Write, E: Write> Printer<O, E> {
    /// A printer to a pair of outputs.
    pub(in crate::cli) fn new(out: O, err: E, show: Show) -> Self {
        Self {
            out,
            err,
            show,
            open: [false; 2],
        }
    }

    /// Prints one line of the log, given without its line end.
    pub(in crate::cli) fn line(&mut self, line: &[u8]) -> Result<(), CliError> {
        self.write(line).map_err(failed)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(line) = parse(line) else {
            // Not ours to judge: show it as it is.
            self.out.write_all(line)?;
            return self.out.write_all(b"\n");
        };
        if let (Some(since), Some(time)) = (self.show.since, parse_rfc3339(line.time))
            && time < since
        {
            return Ok(());
        }
        let (output, open): (&mut dyn Write, &mut bool) = match line.stream {
            Stream::Stdout => (&mut self.out, &mut self.open[0]),
            Stream::Stderr => (&mut self.err, &mut self.open[1]),
        };
        if self.show.timestamps && !*open {
            output.write_all(line.time.as_bytes())?;
            output.write_all(b" ")?;
        }
        *open = line.partial;
        output.write_all(line.text)?;
        if !line.partial {
            output.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Hands everything to the outputs.
    pub(in crate::cli) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(failed)?;
        self.err.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> CliError {
    CliError::Stdio("write the output", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(lines: &[&str], show: Show) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::new(&mut out, &mut err, show);
        for line in lines {
            printer.line(line.as_bytes()).unwrap();
        }
        printer.flush().unwrap();
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[test]
    fn joins_partial_lines_of_each_stream() {
        let lines = [
            "t1 stdout P ab",
            "t2 stderr F oh",
            "t3 stdout P cd",
            "t4 stdout F e",
            "t5 stdout F ",
            "t6 stdout P end",
        ];
        let (out, err) = print(&lines, Show::default());
        assert_eq!(out, "abcde\n\nend");
        assert_eq!(err, "oh\n");
        let show = Show {
            timestamps: true,
            since: None,
        };
        assert_eq!(print(&lines, show).0, "t1 abcde\nt5 \nt6 end");
    }

    #[test]
    fn leaves_out_what_is_old_and_keeps_what_it_cannot_read() {
        let lines = [
            "1970-01-01T00:00:01Z stdout F old",
            "something else",
            "1970-01-01T00:00:03Z stdout F new",
        ];
        let show = Show {
            timestamps: false,
            since: Some(2_000_000_000),
        };
        assert_eq!(print(&lines, show).0, "something else\nnew\n");
    }
}
