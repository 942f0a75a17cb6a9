//! The memory that this process may use.

use std::fs;

/// The least memory for documents, in bytes: the budget of one page.
const MIN_SHARE: u64 = 64 * 1024 * 1024;

/// Returns the memory in bytes that the process may use: the least of the machine's and the limits of its control group (version 2 or 1).
pub fn of_process() -> u64 {
    let limit = |path: &str| fs::read_to_string(path).ok().and_then(|text| limit_of(&text));
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = group.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_end_matches('/'));
        match controllers {
            "" => limit(&format!("/sys/fs/cgroup{path}/memory.max")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                limit(&format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    // In a container, its own group is the root of what it sees.
    let roots = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    own.chain(roots.into_iter().filter_map(limit)).chain(machine).min().unwrap_or(4 * MIN_SHARE)
}

/// Returns the part of it that documents may take while their content is extracted: a fifth, and one page's budget at least.
pub fn default_share(memory: u64) -> u64 {
    (memory / 5).max(MIN_SHARE)
}

/// A control group's limit; none for `max`.
fn limit_of(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// The machine's memory, by `/proc/meminfo`.
fn total_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        assert_eq!(limit_of("536870912\n"), Some(512 << 20));
        assert_eq!(limit_of("max\n"), None);
        assert_eq!(total_of("MemTotal:       16000 kB\nMemFree: 1 kB\n"), Some(16_384_000));
        assert_eq!(default_share(1 << 30), (1 << 30) / 5);
        assert_eq!(default_share(1), MIN_SHARE);
        assert!(of_process() > 0);
    }
}
