//! A browser's processes, as the system shows them: what they take of the memory, and which still live.
//!
//! All are of one process group, whose leader is the process that was started; those in namespaces of the sandbox, too.
//! Where there is no `/proc`, nothing is seen, and memory is bounded by the browser's own limits alone.

use std::fs;

/// A living process of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: i32,
    /// What it takes for itself: its own memory, and what it shares with others of the browser.
    pub(super) bytes: u64,
    /// Whether it runs pages.
    pub(super) is_renderer: bool,
}

/// The living processes of a group. Reads files: for a thread that may block.
pub(super) fn of_group(group: i32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|id| {
        // One that ends meanwhile is gone.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        if !is_living_of(&stat, group) {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let is_renderer = command.split(|byte| *byte == 0 || *byte == b' ').any(|part| part == b"--type=renderer");
        Some(Process { id, bytes: resident(&status), is_renderer })
    })
    .collect()
}

/// Those that browsers left to this process and that have ended: the reporters of crashes, which are in no browser's group. Reads
/// files: for a thread that may block.
pub(super) fn left_behind() -> Vec<i32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        is_left_to(&stat, own)
    })
    .collect()
}

/// Whether `/proc/<id>/stat` is of a reporter of crashes that has ended and is a process's child.
fn is_left_to(stat: &str, own: u32) -> bool {
    let Some((name, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let (state, parent) = (fields.next(), fields.next());
    name.contains("(chrome_crashpad")
        && state == Some("Z")
        && parent.and_then(|parent| parent.parse().ok()) == Some(own)
}

/// Whether `/proc/<id>/stat` is of a process of a group that is no zombie.
fn is_living_of(stat: &str, group: i32) -> bool {
    // The name may hold anything, brackets too; what follows its last one does not.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let (state, _parent, of) = (fields.next(), fields.next(), fields.next());
    !matches!(state, None | Some("Z" | "X")) && of.and_then(|of| of.parse().ok()) == Some(group)
}

/// The memory in `/proc/<id>/status` that is not a file's.
fn resident(status: &str) -> u64 {
    let of = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
    };
    (of("RssAnon") + of("RssShmem")) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_told_by_its_number_whatever_its_processes_are_called() {
        assert!(is_living_of("42 (chromium) S 1 40 39 0 -1", 40));
        assert!(is_living_of("42 (a) S 1 7 (b) R 1 40 39 0 -1", 40));
        assert!(!is_living_of("42 (chromium) Z 1 40 39 0 -1", 40));
        assert!(!is_living_of("42 (chromium) S 1 41 40 0 -1", 40));
        assert!(!is_living_of("", 40));
        assert!(is_left_to("42 (chrome_crashpad) Z 7 40 39 0 -1", 7));
        assert!(!is_left_to("42 (chrome_crashpad) Z 8 40 39 0 -1", 7));
        assert!(!is_left_to("42 (chrome_crashpad) S 7 40 39 0 -1", 7));
        assert!(!is_left_to("42 (other) Z 7 40 39 0 -1", 7));
    }

    #[test]
    fn memory_is_what_is_not_a_files() {
        let status =
            "Name:\tchromium\nVmRSS:\t  900 kB\nRssAnon:\t     100 kB\nRssFile:\t     795 kB\nRssShmem:\t       5 kB\n";
        assert_eq!(resident(status), 105 * 1_024);
        assert_eq!(resident(""), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_in_its_own_group() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let own = i32::try_from(std::process::id()).unwrap();
        let found = of_group(group).into_iter().find(|process| process.id == own).unwrap();
        assert!(found.bytes > 100_000 && !found.is_renderer);
    }
}
