//! What the kernel says of the machine.

use std::fs;

/// Cores, their model, memory and kernel, as a sentence.
pub fn machine() -> String {
    let value = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':')).map(|(_, value)| value.trim());
        line.unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (model, memory) = (value("/proc/cpuinfo", "model name"), value("/proc/meminfo", "MemTotal"));
    format!("{cores} cores of `{model}`, {memory} of memory, Linux {}.", kernel.trim())
}
