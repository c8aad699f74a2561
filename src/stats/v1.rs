//! cgroup v1: one hierarchy for each controller.

use super::{
    files::Files,
    parse,
    sample::{Cpu, Detail, Faults, HugePages, Memory, Pids, Swap, Usage},
};

/// Reads what a cgroup uses.
pub(super) fn read(files: &impl Files, detail: Detail, page_sizes: &[String]) -> Usage {
    let full = detail == Detail::Metrics;
    let memory = memory(files, full);
    let mut usage = Usage {
        cpu: cpu(files, full),
        swap: memory
            .as_ref()
            .and_then(|(memory, swap)| limited(files, memory, *swap)),
        memory: memory.map(|(memory, _)| memory),
        pids: pids(files, full),
        ..Usage::default()
    };
    if full {
        usage.devices = parse::blkio(
            &recursive(files, "blkio.throttle.io_service_bytes"),
            &recursive(files, "blkio.throttle.io_serviced"),
        );
        usage.huge_pages = page_sizes
            .iter()
            .filter_map(|size| {
                let file = |what| files.number("hugetlb", &format!("hugetlb.{size}.{what}"));
                Some(HugePages {
                    size: size.clone(),
                    usage: file("usage_in_bytes")?,
                    max_usage: file("max_usage_in_bytes"),
                })
            })
            .collect();
    }
    usage
}

fn cpu(files: &impl Files, full: bool) -> Option<Cpu> {
    let mut cpu = Cpu {
        total_ns: files.number("cpuacct", "cpuacct.usage")?,
        ..Cpu::default()
    };
    if full {
        let ticks = files.read("cpuacct", "cpuacct.stat").unwrap_or_default();
        for (key, value) in parse::keyed(&ticks) {
            // The kernel shows user space hundredths of seconds, whatever its own clock.
            let ns = value.saturating_mul(10_000_000);
            match key {
                "user" => cpu.user_ns = ns,
                "system" => cpu.system_ns = ns,
                _ => {}
            }
        }
        let stat = files.read("cpu", "cpu.stat").unwrap_or_default();
        for (key, value) in parse::keyed(&stat) {
            match key {
                "nr_periods" => cpu.periods = value,
                "nr_throttled" => cpu.throttled_periods = value,
                "throttled_time" => cpu.throttled_ns = value,
                _ => {}
            }
        }
    }
    Some(cpu)
}

/// Memory, and the swap in use where the kernel counts it.
fn memory(files: &impl Files, full: bool) -> Option<(Memory, Option<u64>)> {
    let mut memory = Memory {
        usage: files.number("memory", "memory.usage_in_bytes")?,
        limit: files.limit("memory", "memory.limit_in_bytes"),
        ..Memory::default()
    };
    let mut swap = None;
    let stat = files.read("memory", "memory.stat").unwrap_or_default();
    for (key, value) in parse::keyed(&stat) {
        match key {
            "total_rss" => memory.rss = value,
            "total_cache" => memory.cache = value,
            "total_mapped_file" => memory.mapped = value,
            "total_active_file" => memory.active_file = value,
            "total_inactive_file" => memory.inactive_file = value,
            "total_pgfault" => memory.faults.all = value,
            "total_pgmajfault" => memory.faults.major = value,
            "pgfault" => memory.own_faults.all = value,
            "pgmajfault" => memory.own_faults.major = value,
            "total_swap" => swap = Some(value),
            _ => {}
        }
    }
    if memory.faults == Faults::default() {
        memory.faults = memory.own_faults;
    }
    if full {
        memory.max_usage = files.number("memory", "memory.max_usage_in_bytes");
        memory.limit_hits = files.number("memory", "memory.failcnt").unwrap_or(0);
        memory.kernel = files
            .number("memory", "memory.kmem.usage_in_bytes")
            .unwrap_or(0);
        let oom = files
            .read("memory", "memory.oom_control")
            .unwrap_or_default();
        memory.oom_kills = parse::keyed(&oom)
            .find(|(key, _)| *key == "oom_kill")
            .map_or(0, |(_, value)| value);
    }
    Some((memory, swap))
}

/// Swap with its limit. The kernel limits memory and swap together.
fn limited(files: &impl Files, memory: &Memory, swap: Option<u64>) -> Option<Swap> {
    let both = files.limit("memory", "memory.memsw.limit_in_bytes");
    Some(Swap {
        usage: swap?,
        limit: both
            .zip(memory.limit)
            .map(|(both, memory)| both.saturating_sub(memory)),
    })
}

fn pids(files: &impl Files, full: bool) -> Option<Pids> {
    Some(Pids {
        current: files.number("pids", "pids.current")?,
        limit: if full {
            files.limit("pids", "pids.max")
        } else {
            None
        },
    })
}

/// A file of the block controller: with the children where this kernel counts them.
fn recursive(files: &impl Files, name: &str) -> Vec<u8> {
    files
        .read("blkio", &format!("{name}_recursive"))
        .or_else(|| files.read("blkio", name))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::Sheet;
    use super::*;

    #[test]
    fn every_file_is_understood() {
        let sheet = Sheet::new(&[
            ("cpuacct/cpuacct.usage", "1500000000"),
            ("cpuacct/cpuacct.stat", "user 100\nsystem 50\n"),
            (
                "cpu/cpu.stat",
                "nr_periods 7\nnr_throttled 3\nthrottled_time 9\n",
            ),
            ("memory/memory.usage_in_bytes", "1000"),
            ("memory/memory.limit_in_bytes", "4096"),
            ("memory/memory.memsw.limit_in_bytes", "6144"),
            ("memory/memory.max_usage_in_bytes", "2000"),
            ("memory/memory.failcnt", "4"),
            ("memory/memory.kmem.usage_in_bytes", "12"),
            (
                "memory/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            (
                "memory/memory.stat",
                "rss 1\npgfault 5\npgmajfault 1\ntotal_rss 300\ntotal_cache 200\ntotal_mapped_file 50\n\
                 total_swap 10\ntotal_inactive_file 100\ntotal_active_file 60\ntotal_pgfault 9\ntotal_pgmajfault 2\n",
            ),
            ("pids/pids.current", "3"),
            ("pids/pids.max", "max"),
            (
                "blkio/blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 5\nTotal 5\n",
            ),
            ("blkio/blkio.throttle.io_serviced", "8:0 Read 1\n"),
            ("hugetlb/hugetlb.2MB.usage_in_bytes", "2097152"),
            ("hugetlb/hugetlb.2MB.max_usage_in_bytes", "4194304"),
        ]);
        let sizes = ["2MB".to_owned(), "1GB".to_owned()];
        let usage = read(&sheet, Detail::Metrics, &sizes);
        let cpu = usage.cpu.unwrap();
        assert_eq!((cpu.total_ns, cpu.user_ns), (1_500_000_000, 1_000_000_000));
        assert_eq!(
            (cpu.periods, cpu.throttled_periods, cpu.throttled_ns),
            (7, 3, 9)
        );
        let memory = usage.memory.unwrap();
        assert_eq!(
            (memory.working_set(), memory.available()),
            (900, Some(3196))
        );
        assert_eq!(
            (memory.rss, memory.max_usage, memory.kernel),
            (300, Some(2000), 12)
        );
        assert_eq!((memory.limit_hits, memory.oom_kills), (4, 2));
        assert_eq!((memory.faults.all, memory.own_faults.all), (9, 5));
        assert_eq!(
            usage.swap,
            Some(Swap {
                usage: 10,
                limit: Some(2048)
            })
        );
        assert_eq!(
            usage.pids,
            Some(Pids {
                current: 3,
                limit: None
            })
        );
        assert_eq!(
            (usage.devices[0].read_bytes, usage.devices[0].reads),
            (5, 1)
        );
        assert_eq!(usage.huge_pages.len(), 1);
        assert_eq!(usage.io_pressure, None);
    }

    #[test]
    fn statistics_read_few_files() {
        let sheet = Sheet::new(&[
            ("cpuacct/cpuacct.usage", "1"),
            ("memory/memory.usage_in_bytes", "1"),
        ]);
        let usage = read(&sheet, Detail::Stats, &["2MB".to_owned()]);
        assert!(usage.cpu.is_some() && usage.swap.is_none());
        assert_eq!(sheet.asked(), 6);
        assert_eq!(
            read(&Sheet::new(&[]), Detail::Metrics, &[]),
            Usage::default()
        );
    }
}
