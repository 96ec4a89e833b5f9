//! What processes cost, as `/proc` tells it.

use std::collections::HashMap;
use std::fs;

/// Clock ticks of `/proc` in a second: `USER_HZ`, which is 100 on all architectures that Rust's Linux targets have.
/// Source: proc_pid_stat(5), time(7).
const TICKS: f64 = 100.0;
const KIB: f64 = 1024.0;

/// CPU seconds, user and system, that the process `root`, all that descend from it, and those of them that have ended
/// used until now. 0 when it does not run.
pub(crate) fn seconds(root: u32) -> f64 {
    let all = all_processes();
    let of_tree = tree(&all, root);
    of_tree
        .iter()
        .map(|pid| all[pid].ticks as f64 / TICKS)
        .sum()
}

/// CPU seconds of this process alone, whatever it started.
pub(crate) fn own_seconds() -> f64 {
    let ticks = stat("self").map_or(0, |stat| stat.own_ticks);
    ticks as f64 / TICKS
}

/// Makes the kernel forget the peak of a process' memory.
pub(crate) fn reset_peak(pid: u32) {
    // Only memory that has been used since counts then. Not permitted for others' processes, whose peak stays.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The peak of a process' resident memory since [`reset_peak`], in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    kib(&format!("/proc/{pid}/status"), "VmHWM:") / KIB
}

/// Memory of a tree of processes that share much of it, each page counted once, in MiB.
pub(crate) fn shared_mib(root: u32) -> f64 {
    let all = all_processes();
    let of_tree = tree(&all, root);
    let pss = of_tree
        .iter()
        .map(|pid| kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:"));
    pss.sum::<f64>() / KIB
}

fn kib(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}

struct Stat {
    parent: u32,
    own_ticks: u64,
    /// With those of its children that have ended.
    ticks: u64,
}

fn all_processes() -> HashMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(&pid.to_string())?)))
        .collect()
}

fn tree(all: &HashMap<u32, Stat>, root: u32) -> Vec<u32> {
    let mut found: Vec<u32> = all
        .contains_key(&root)
        .then_some(root)
        .into_iter()
        .collect();
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        let children = all.iter().filter(|(_, stat)| stat.parent == parent);
        found.extend(children.map(|(&pid, _)| pid));
        looked_at += 1;
    }
    found
}

fn stat(pid: &str) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 4 and 14 to 17, counted after the name, which may hold spaces and parentheses.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let own_ticks = ticks(11)? + ticks(12)?;
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks,
        ticks: own_ticks + ticks(13)? + ticks(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 3 4 5 6 20 0 1 0 5000";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.own_ticks, stat.ticks), (7, 7, 18));
    }

    #[test]
    fn a_tree_has_grandchildren_and_no_strangers() {
        let stat = |parent| Stat {
            parent,
            own_ticks: 0,
            ticks: 0,
        };
        let all = HashMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(9))]);
        let mut found = tree(&all, 1);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }
}
