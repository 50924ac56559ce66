// SPDX-License-Identifier: Apache-2.0
//! Memory that a process has and does not need, which the system may have again. Both processes rest nearly always.

use std::ops::Range;

/// Gives back what much work has left: free memory, and the parts of the program that it was done by.
pub fn give_back() {
    trim();
    unmap_code();
}

/// Gives free memory back to the system, also what lies between that which is still in use.
///
/// The allocator gives back by itself only what is free at the end. What a cycle needs for thousands of objects would stay,
/// held in place by a few bytes after it.
fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate has a safe call; it takes a number, and moves nothing that is in use")]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Takes the code of the program and of its libraries out of this process's memory, until it is executed again.
///
/// The kernel maps what is executed once, and much around it, for good: of code that only a start and a whole cycle use that is
/// most. What is mapped it also keeps before all else when memory is short.
fn unmap_code() {
    #[expect(clippy::disallowed_methods, reason = "what this process has mapped is no part of the managed host")]
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for code in maps.lines().filter_map(code_at) {
        #[expect(unsafe_code, reason = "no crate has a safe call")]
        // SAFETY: these pages are a file's, and nobody has written to them: whoever executes them next, be it at this moment,
        // gets the same bytes from the file (madvise(2), MADV_DONTNEED).
        unsafe {
            nix::libc::madvise(code.start as *mut nix::libc::c_void, code.len(), nix::libc::MADV_DONTNEED);
        }
    }
}

/// Returns where the mapping is that this line tells of, if it is code from a file that cannot be written to (`proc_pid_maps(5)`).
fn code_at(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (begin, end) = words.next()?.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    let is_code = words.next()? == "r-xp" && words.nth(3)?.starts_with('/');
    is_code.then_some(address(begin)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_executed_from_a_file_and_never_written() {
        let code = "55d0c8a8d000-55d0c943f000 r-xp 0028d000 fe:00 131 /usr/bin/hostwrit";
        assert_eq!(code_at(code), Some(0x55d0_c8a8_d000..0x55d0_c943_f000));
        for other in [
            "55d0c8800000-55d0c8a8d000 r--p 00000000 fe:00 131 /usr/bin/hostwrit",
            "55d0c8a8d000-55d0c943f000 rwxp 0028d000 fe:00 131 /usr/bin/hostwrit",
            "7ffd1a9f2000-7ffd1a9f4000 r-xp 00000000 00:00 0 [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "no line of it",
            "",
        ] {
            assert_eq!(code_at(other), None, "{other}");
        }
    }

    /// Maps the program a second time, as code: this is executed by nobody.
    #[allow(unsafe_code, reason = "a mapping has no other door")]
    fn second_mapping(program: &std::fs::File, length: usize) -> &'static [u8] {
        use std::os::fd::AsRawFd as _;
        use std::ptr::null_mut;

        use nix::libc::{MAP_FAILED, MAP_PRIVATE, PROT_EXEC, PROT_READ, mmap};

        // SAFETY: it is a new mapping of a file that nobody writes to, and stays until the process ends.
        unsafe {
            let place = mmap(null_mut(), length, PROT_READ | PROT_EXEC, MAP_PRIVATE, program.as_raw_fd(), 0);
            assert_ne!(place, MAP_FAILED);
            std::slice::from_raw_parts(place.cast(), length)
        }
    }

    /// Returns how many KiB of the mapping that begins there are in memory.
    #[allow(clippy::disallowed_methods)]
    fn mapped_at(place: usize) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = maps.split(&format!("{place:x}-")).nth(1).unwrap();
        let line = mapping.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn code_is_mapped_no_more_and_is_the_same_when_it_is_needed() {
        const LENGTH: usize = 1024 * 1024;
        let program = std::fs::File::open("/proc/self/exe").unwrap();
        let code = second_mapping(&program, LENGTH);
        let before = code.to_vec();
        let place = code.as_ptr() as usize;
        assert_eq!(mapped_at(place), LENGTH as u64 / 1024);
        give_back();
        assert_eq!(mapped_at(place), 0);
        assert!(code == before);
        assert_ne!(mapped_at(place), 0);
    }
}
