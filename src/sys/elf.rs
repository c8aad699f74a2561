//! Whether a program brings all it needs with it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Bytes at the front of a program that hold its headers.
const FRONT: u64 = 64 << 10;
/// `PT_INTERP` of elf(5): the program wants a dynamic linker.
const PT_INTERP: u32 = 3;

/// Whether a program can run where there is nothing but it: an ELF file without an interpreter.
pub fn is_static(path: &Path) -> io::Result<bool> {
    let mut front = Vec::new();
    File::open(path)?.take(FRONT).read_to_end(&mut front)?;
    Ok(interpreters(&front) == Some(0))
}

/// How many program headers name an interpreter; `None` for what is no 64-bit ELF file of this machine's byte
/// order, or has its headers elsewhere.
fn interpreters(front: &[u8]) -> Option<usize> {
    let half = |at: usize| Some(u16::from_ne_bytes(front.get(at..at + 2)?.try_into().ok()?));
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if front.get(..6)? != [0x7f, b'E', b'L', b'F', 2, order] {
        return None;
    }
    let offset = u64::from_ne_bytes(front.get(32..40)?.try_into().ok()?);
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let mut found = 0;
    for n in 0..count {
        let at = usize::try_from(offset)
            .ok()?
            .checked_add(n.checked_mul(size)?)?;
        let kind = u32::from_ne_bytes(front.get(at..at.checked_add(4)?)?.try_into().ok()?);
        found += usize::from(kind == PT_INTERP);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_static_programs() {
        assert!(is_static(Path::new("/bin/busybox")).unwrap());
        assert!(!is_static(Path::new("/bin/sh")).unwrap());
        assert!(!is_static(Path::new("/etc/passwd")).unwrap());
        assert!(is_static(Path::new("/nonexistent")).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes: Vec<u8>, header: bool) {
            if header {
                bytes.splice(..0, [0x7f, b'E', b'L', b'F', 2, 1]);
            }
            interpreters(&bytes);
        }
    }
}
