//! How much memory this process may have, so that the default of `limits.memory` fits into it.

use std::fs;
use std::path::Path;

/// The least that the machine, and the control groups that this process is in, allow, in octets; `None` if none says.
pub(super) fn allowed() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let read = |path: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok();
    least(&groups, machine.as_deref().and_then(total), read)
}

/// `MemTotal` of `/proc/meminfo`, in octets.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// `groups` is `/proc/self/cgroup`; `read` gives a file below `/sys/fs/cgroup`. Inside a container the root there is the
/// container's own group and the path of the process may not exist, so every folder up to the root is asked.
fn least(groups: &str, machine: Option<u64>, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut least = machine;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("", "memory.max"),
            some if some.split(',').any(|name| name == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let file = Path::new(root).join(folder).join(file);
            let text = file.to_str().and_then(&read);
            // Version 2 says `max` where there is no limit.
            let limit = text.and_then(|text| text.trim().parse().ok());
            least = match (least, limit) {
                (Some(least), Some(limit)) => Some(least.min(limit)),
                (least, limit) => least.or(limit),
            };
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_to_the_root_counts() {
        let files = [
            ("memory/pod/box/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/pod/memory.limit_in_bytes", "536870912\n"),
            ("unified/memory.max", "max\n"),
        ];
        let read = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_string())
        };
        let groups = "5:cpu,cpuacct:/x\n4:memory:/pod/box\n0::/unified\n";
        assert_eq!(least(groups, Some(8 << 30), read), Some(512 << 20));
        assert_eq!(least("0::/unified\n", Some(8 << 30), read), Some(8 << 30));
        assert_eq!(least("0::/unified\n", None, read), None);
        assert_eq!(least("nonsense\n", Some(1), read), Some(1));
    }

    #[test]
    fn inside_a_container_the_root_is_asked() {
        let read = |path: &str| (path == "memory.max").then(|| "268435456\n".to_string());
        assert_eq!(least("0::/\n", Some(8 << 30), read), Some(256 << 20));
        assert_eq!(least("0::/not/there\n", Some(8 << 30), read), Some(256 << 20));
    }

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(
            total("MemTotal:       24625464 kB\nMemFree: 1 kB\n"),
            Some(24_625_464 << 10)
        );
        assert_eq!(total("MemTotal: much\n"), None);
    }
}
