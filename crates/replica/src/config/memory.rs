//! How much memory the sessions of this process may take: as configured, or a share of what the
//! system grants to the process.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use super::units::ByteSize;

/// The part of the granted memory that sessions may take by default. The other half is for the
/// embedding program, for connections and for what the allocator cannot reuse.
const AUTO_DIVISOR: u64 = 2;

/// What is assumed where the system does not tell, in bytes.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// `limits.memory`: a bound for the sessions of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A half of what the control group or the machine has, whichever is less.
    Auto,
    /// As many bytes.
    Bytes(u64),
}

impl Memory {
    /// The bound in bytes. For [`Memory::Auto`] this asks the system, so it is called once.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Auto => granted(Path::new("/")).unwrap_or(UNKNOWN_BYTES) / AUTO_DIVISOR,
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemoryVisitor)
    }
}

struct MemoryVisitor;

impl Visitor<'_> for MemoryVisitor {
    type Value = Memory;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\" or a number of bytes such as \"512MiB\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Memory, E> {
        Ok(Memory::Bytes(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Memory, E> {
        let wrong = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map(Memory::Bytes).map_err(wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Memory, E> {
        match text.parse::<ByteSize>() {
            Ok(ByteSize(bytes)) => Ok(Memory::Bytes(bytes)),
            Err(()) if text == "auto" => Ok(Memory::Auto),
            Err(()) => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// What the system grants to this process, in bytes: the least of the machine's memory and of the
/// limits of its control group and of all groups around it. `root` is `/` but for tests.
fn granted(root: &Path) -> Option<u64> {
    let text = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = text("proc/meminfo").and_then(|text| total_of(&text));
    let groups = text("proc/self/cgroup").unwrap_or_default();
    groups
        .lines()
        .filter_map(Hierarchy::of)
        .flat_map(|hierarchy| hierarchy.limits(root))
        .chain(machine)
        .min()
}

/// `MemTotal:       16318480 kB`
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// One line of `/proc/self/cgroup`: where a hierarchy of control groups is mounted, which file of
/// a group holds its limit, and the group of this process.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy<'a> {
    mount: &'static str,
    file: &'static str,
    group: &'a str,
}

impl<'a> Hierarchy<'a> {
    /// `0::/system.slice/a.service` in version 2, `9:memory:/docker/c0ffee` in version 1.
    fn of(line: &'a str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let group = group.trim_start_matches('/');
        if number == "0" && controllers.is_empty() {
            Some(Self { mount: "sys/fs/cgroup", file: "memory.max", group })
        } else if controllers.split(',').any(|name| name == "memory") {
            Some(Self { mount: "sys/fs/cgroup/memory", file: "memory.limit_in_bytes", group })
        } else {
            None
        }
    }

    /// The limits of the group and of those around it. Inside of a container the path of the group
    /// may be one of the host; the files are then missing and only the innermost mount counts.
    fn limits(&self, root: &Path) -> Vec<u64> {
        let mount = root.join(self.mount);
        Path::new(self.group)
            .ancestors()
            .map(|group| mount.join(group).join(self.file))
            .filter_map(|file| fs::read_to_string(file).ok())
            // No limit is "max" in version 2, and a huge number in version 1.
            .filter_map(|text| text.trim().parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16318480 kB\nMemFree:         1117944 kB\n";
    const MACHINE: u64 = 16_318_480 * 1024;

    /// What is granted where these files exist.
    fn granted_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        granted(root.path())
    }

    #[test]
    fn the_machine_counts_where_no_group_is_limited() {
        assert_eq!(granted_with(&[]), None);
        assert_eq!(granted_with(&[("proc/meminfo", "MemFree: 1 kB\n")]), None);
        assert_eq!(granted_with(&[("proc/meminfo", MEMINFO)]), Some(MACHINE));
        let unlimited = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a.slice/b.service\n"),
            ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
        ];
        assert_eq!(granted_with(&unlimited), Some(MACHINE));
    }

    #[test]
    fn the_tightest_group_around_the_process_counts() {
        let nested = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a.slice/b.service\n"),
            ("sys/fs/cgroup/a.slice/b.service/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/a.slice/memory.max", "2147483648\n"),
        ];
        assert_eq!(granted_with(&nested), Some(2 << 30));
    }

    #[test]
    fn a_container_sees_its_limit_at_the_mount() {
        let v2 = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "536870912\n")];
        assert_eq!(granted_with(&v2), Some(512 << 20));
        let v1 = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "11:cpu,cpuacct:/docker/c0ffee\n9:memory:/docker/c0ffee\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ];
        assert_eq!(granted_with(&v1), Some(256 << 20));
    }

    #[test]
    fn version_1_without_a_limit_is_the_machine() {
        let files = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "9:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(granted_with(&files), Some(MACHINE));
    }

    #[test]
    fn lines_of_other_hierarchies_and_nonsense_are_passed_over() {
        for line in ["", "1", "4:cpu:/a", "1:name=systemd:/a", "x:y"] {
            assert_eq!(Hierarchy::of(line), None, "{line:?}");
        }
    }

    #[test]
    fn this_machine_grants_something() {
        assert!(Memory::Auto.bytes() > 0);
        assert_eq!(Memory::Bytes(7).bytes(), 7);
    }
}
