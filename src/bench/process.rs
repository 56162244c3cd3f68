//! What the kernel knows of a process: CPU time and memory.

use std::fs;

use super::Failure;

/// Processes of the broker, watched together.
#[derive(Clone, Debug)]
pub(super) struct Processes(Vec<u32>);

impl Processes {
    /// The processes `pids`; `None` if there are none to watch.
    pub(super) fn new(pids: &[u32]) -> Result<Option<Processes>, Failure> {
        if let Some(pid) = pids.iter().find(|pid| ticks(&pid.to_string()).is_none()) {
            return Err(Failure::Options(format!("--pid: there is no process {pid}")));
        }
        Ok((!pids.is_empty()).then(|| Processes(pids.to_vec())))
    }

    /// Seconds of CPU time spent so far, in user and kernel mode.
    pub(super) fn cpu_seconds(&self) -> f64 {
        self.0.iter().map(|pid| cpu_seconds(&pid.to_string())).sum()
    }

    /// Memory in use, in KiB.
    pub(super) fn rss_kib(&self) -> u64 {
        self.0.iter().filter_map(|pid| rss_kib(*pid)).sum()
    }
}

/// Seconds of CPU time of this process.
pub(super) fn own_cpu_seconds() -> f64 {
    cpu_seconds("self")
}

fn cpu_seconds(pid: &str) -> f64 {
    let second = rustix::param::clock_ticks_per_second();
    ticks(pid).unwrap_or_default() as f64 / second as f64
}

/// `utime` and `stime` of proc(5). The name before them may hold blanks and parentheses.
fn ticks(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_has_memory_and_others_are_told_missing() {
        let own = Processes::new(&[std::process::id()]).unwrap().unwrap();
        assert!(own.rss_kib() > 0);
        assert!(matches!(Processes::new(&[u32::MAX]), Err(Failure::Options(_))));
        assert!(Processes::new(&[]).unwrap().is_none());
    }
}
