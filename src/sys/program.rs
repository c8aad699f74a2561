//! What of this program's own file is in memory.
#![allow(unsafe_code)]

use std::{ffi::c_int, ptr, slice};

use nix::unistd::SysconfVar;

/// Has this process hold no page of its program that was only read, code above all; each comes back when it is next used,
/// from the kernel's cache of files, without the disk. Without it a process holds whatever it ever used, and what lies
/// around that: most of it was for its start.
pub fn let_go() {
    // SAFETY: the callback has the signature that dl_iterate_phdr(3) asks for, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of), ptr::null_mut()) };
}

/// Called with the program first; the result ends the iteration with it.
///
/// # Safety
///
/// `object` is what dl_iterate_phdr(3) gives.
unsafe extern "C" fn let_go_of(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> c_int {
    // SAFETY: the caller's promise; the structure is valid during the call.
    let object = unsafe { &*object };
    if object.dlpi_phdr.is_null() {
        return 1;
    }
    // SAFETY: program headers of a loaded object are mapped as long as it is, in that number.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let page = nix::unistd::sysconf(SysconfVar::PAGE_SIZE);
    let Some(page) = page
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
    else {
        return 1;
    };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = object.dlpi_addr + header.p_vaddr;
        let end = start + header.p_memsz;
        let start = start - start % page;
        // SAFETY: the pages are a mapping of the program's file that is never written to, so that MADV_DONTNEED,
        // madvise(2), changes nothing that can be read from them: the next access reads the file again. The file cannot
        // change under a program that runs (ETXTBSY). Where it fails, the pages stay.
        unsafe {
            libc::madvise(
                ptr::with_exposed_provenance_mut(start as usize),
                (end - start) as usize,
                libc::MADV_DONTNEED,
            )
        };
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of this program's code that this process holds.
    fn held() -> u64 {
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines();
        let mut held = 0;
        while let Some(line) = lines.next() {
            if line.contains(" r-xp ") && line.ends_with(program.to_str().unwrap()) {
                let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
                let number = rss.split_whitespace().next().unwrap();
                held += number.parse::<u64>().unwrap();
            }
        }
        held
    }

    #[test]
    fn code_is_let_go_and_comes_back() {
        // Other tests use theirs meanwhile.
        let shrunk = (0..50).any(|_| {
            // Code that is certainly used, so that there is something to let go.
            let words = serde_json::json!({"a": [1, 2.5, "x", null]}).to_string();
            assert_eq!(words, r#"{"a":[1,2.5,"x",null]}"#);
            let before = held();
            let_go();
            held() < before
        });
        assert!(shrunk);
        let again = serde_json::json!({"a": true}).to_string();
        assert_eq!(again, r#"{"a":true}"#);
    }
}
