//! Instructions that a daemon and all that it starts execute, as the processor counts them, where it does:
//! perf_event_open(2).

use std::io;

use perf_event::{Builder, Counter, events::Event};

/// Counts an event of a process.
pub(crate) struct Count(Vec<Counter>);

impl Count {
    /// Begins to count `event`, in user mode, of each thread that process `pid` has and of what they start from now on.
    /// What it starts meanwhile may be counted twice, so it should be at rest.
    pub(crate) fn begin(pid: i32, event: impl Into<Event> + Clone) -> io::Result<Self> {
        let mut counters = Vec::new();
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = thread?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let mut builder = Builder::new().kind(event.clone()).observe_pid(thread);
            builder.inherit(true);
            let mut counter = builder.build()?;
            counter.enable()?;
            counters.push(counter);
        }
        Ok(Self(counters))
    }

    /// How many it were so far. Where the processor had to count other things in turn, the time left out is made up for.
    pub(crate) fn read(&mut self) -> io::Result<f64> {
        let mut sum = 0.0;
        for counter in &mut self.0 {
            let read = counter.read_count_and_time()?;
            if read.time_running > 0 {
                let part = read.time_enabled as f64 / read.time_running as f64;
                sum += read.count as f64 * part;
            }
        }
        Ok(sum)
    }
}
