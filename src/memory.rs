// SPDX-License-Identifier: Apache-2.0
//! Memory that is free and not yet the system's again.

/// Gives free memory back to the system, also what lies between that which is still in use.
///
/// The allocator gives back by itself only what is free at the end. What a cycle needs for thousands of objects would stay,
/// held in place by a few bytes after it.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate has a safe call; it takes a number, and moves nothing that is in use")]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
