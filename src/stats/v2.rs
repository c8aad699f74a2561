//! cgroup v2: one hierarchy for all controllers.

use super::{
    files::Files,
    parse,
    sample::{Cpu, Detail, HugePages, Memory, Pids, Swap, Usage},
};

/// Reads what a cgroup uses.
pub(super) fn read(files: &impl Files, detail: Detail, page_sizes: &[String]) -> Usage {
    let full = detail == Detail::Metrics;
    let mut usage = Usage {
        cpu: cpu(files),
        memory: memory(files, full),
        swap: swap(files),
        pids: pids(files, full),
        io_pressure: pressure(files, "io.pressure"),
        ..Usage::default()
    };
    if full {
        usage.devices = parse::io_stat(&files.read("", "io.stat").unwrap_or_default());
        usage.huge_pages = page_sizes
            .iter()
            .filter_map(|size| {
                Some(HugePages {
                    size: size.clone(),
                    usage: files.number("", &format!("hugetlb.{size}.current"))?,
                    max_usage: None,
                })
            })
            .collect();
    }
    usage
}

fn cpu(files: &impl Files) -> Option<Cpu> {
    let mut cpu = Cpu::default();
    let stat = files.read("", "cpu.stat")?;
    for (key, value) in parse::keyed(&stat) {
        // Times are in microseconds.
        let ns = value.saturating_mul(1000);
        match key {
            "usage_usec" => cpu.total_ns = ns,
            "user_usec" => cpu.user_ns = ns,
            "system_usec" => cpu.system_ns = ns,
            "nr_periods" => cpu.periods = value,
            "nr_throttled" => cpu.throttled_periods = value,
            "throttled_usec" => cpu.throttled_ns = ns,
            _ => {}
        }
    }
    cpu.pressure = pressure(files, "cpu.pressure");
    Some(cpu)
}

fn memory(files: &impl Files, full: bool) -> Option<Memory> {
    let mut memory = Memory {
        usage: files.number("", "memory.current")?,
        limit: files.limit("", "memory.max"),
        pressure: pressure(files, "memory.pressure"),
        ..Memory::default()
    };
    let (mut kernel, mut parts) = (None, 0u64);
    let stat = files.read("", "memory.stat").unwrap_or_default();
    for (key, value) in parse::keyed(&stat) {
        match key {
            "anon" => memory.rss = value,
            "file" => memory.cache = value,
            "file_mapped" => memory.mapped = value,
            "active_file" => memory.active_file = value,
            "inactive_file" => memory.inactive_file = value,
            "pgfault" => memory.faults.all = value,
            "pgmajfault" => memory.faults.major = value,
            "kernel" => kernel = Some(value),
            // What older kernels show in its place.
            "kernel_stack" | "pagetables" | "percpu" | "slab" => {
                parts = parts.saturating_add(value)
            }
            _ => {}
        }
    }
    memory.kernel = kernel.unwrap_or(parts);
    memory.own_faults = memory.faults;
    if full {
        memory.max_usage = files.number("", "memory.peak");
        let events = files.read("", "memory.events").unwrap_or_default();
        for (key, value) in parse::keyed(&events) {
            match key {
                "max" => memory.limit_hits = value,
                "oom_kill" => memory.oom_kills = value,
                _ => {}
            }
        }
    }
    Some(memory)
}

fn swap(files: &impl Files) -> Option<Swap> {
    Some(Swap {
        usage: files.number("", "memory.swap.current")?,
        limit: files.limit("", "memory.swap.max"),
    })
}

fn pids(files: &impl Files, full: bool) -> Option<Pids> {
    Some(Pids {
        current: files.number("", "pids.current")?,
        limit: if full {
            files.limit("", "pids.max")
        } else {
            None
        },
    })
}

fn pressure(files: &impl Files, name: &str) -> Option<super::sample::Pressure> {
    parse::pressure(&files.read("", name)?)
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::Sheet;
    use super::*;

    #[test]
    fn every_file_is_understood() {
        let sheet = Sheet::new(&[
            (
                "/cpu.stat",
                "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 7\nnr_throttled 3\nthrottled_usec 9\n",
            ),
            (
                "/cpu.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
            ),
            ("/memory.current", "1000"),
            ("/memory.max", "4096"),
            ("/memory.peak", "2000"),
            (
                "/memory.events",
                "low 0\nhigh 0\nmax 4\noom 3\noom_kill 2\n",
            ),
            (
                "/memory.stat",
                "anon 300\nfile 200\nkernel_stack 5\npagetables 7\nfile_mapped 50\ninactive_file 100\npgfault 9\npgmajfault 2\n",
            ),
            ("/memory.swap.current", "10"),
            ("/memory.swap.max", "max"),
            ("/pids.current", "3"),
            ("/pids.max", "12"),
            ("/io.stat", "8:0 rbytes=5 wbytes=0 rios=1 wios=0\n"),
            (
                "/io.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
            ),
            ("/hugetlb.2MB.current", "2097152"),
        ]);
        let usage = read(&sheet, Detail::Metrics, &["2MB".to_owned()]);
        let cpu = usage.cpu.unwrap();
        assert_eq!(
            (cpu.total_ns, cpu.user_ns, cpu.throttled_ns),
            (1_500_000, 1_000_000, 9_000)
        );
        assert_eq!(cpu.pressure.unwrap().some.unwrap().total_ns, 5_000);
        let memory = usage.memory.unwrap();
        assert_eq!(
            (memory.working_set(), memory.available()),
            (900, Some(3196))
        );
        assert_eq!(
            (memory.rss, memory.max_usage, memory.kernel),
            (300, Some(2000), 12)
        );
        assert_eq!(
            (memory.limit_hits, memory.oom_kills, memory.own_faults.major),
            (4, 2, 2)
        );
        assert_eq!(
            usage.swap,
            Some(Swap {
                usage: 10,
                limit: None
            })
        );
        assert_eq!(
            usage.pids,
            Some(Pids {
                current: 3,
                limit: Some(12)
            })
        );
        assert_eq!(usage.devices.len(), 1);
        assert!(usage.io_pressure.is_some());
        assert_eq!(usage.huge_pages[0].max_usage, None);
    }

    #[test]
    fn what_is_not_counted_is_absent() {
        assert_eq!(
            read(&Sheet::new(&[]), Detail::Metrics, &["2MB".to_owned()]),
            Usage::default()
        );
        let sheet = Sheet::new(&[
            ("/memory.current", "5"),
            ("/memory.stat", "kernel 9\nslab 3\n"),
        ]);
        let usage = read(&sheet, Detail::Stats, &[]);
        assert_eq!(usage.memory.unwrap().kernel, 9);
        assert!(usage.swap.is_none() && usage.io_pressure.is_none());
    }
}
