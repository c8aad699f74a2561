use std::io::{BufReader, Write};

use proptest::prelude::*;

use super::*;

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    // A small buffer, so that every boundary is crossed.
    let mut tar = TarReader::new(BufReader::with_capacity(300, bytes));
    let mut all = Vec::new();
    while let Some(entry) = tar.next()? {
        let mut data = Vec::new();
        loop {
            let have = tar.fill()?;
            if have.is_empty() {
                break;
            }
            data.extend_from_slice(have);
            let n = have.len();
            tar.consume(n);
        }
        all.push((entry, data));
    }
    Ok(all)
}

/// An archive made by GNU tar of files set up by `script` in an empty directory.
fn gnu_tar(script: &str, arguments: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let out = std::process::Command::new("sh")
        .arg("-ec")
        .arg(format!("{script}\ntar {arguments} -cf - *"))
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

#[test]
fn long_names_and_links_of_gnu_and_pax() {
    let script = "d=$(printf 'd%.0s' $(seq 120)); mkdir $d; echo hi > $d/f$d; ln -s $d/f$d link";
    let long = "d".repeat(120);
    for format in ["--format=gnu", "--format=pax", "--format=posix"] {
        let all = read_all(&gnu_tar(script, format)).unwrap();
        let paths: Vec<_> = all.iter().map(|(e, _)| e.path.clone()).collect();
        let file = format!("{long}/f{long}");
        assert_eq!(paths[0], format!("{long}/").into_bytes(), "{format}");
        assert_eq!(paths[1], file.clone().into_bytes());
        assert_eq!(all[1].1, b"hi\n");
        assert_eq!(
            (all[2].0.kind, &all[2].0.link),
            (Kind::Symlink, &file.into_bytes())
        );
    }
}

#[test]
fn split_names_of_ustar() {
    let script = "d=$(printf 'd%.0s' $(seq 90)); mkdir -p $d/$d; echo hi > $d/$d/f";
    let all = read_all(&gnu_tar(script, "--format=ustar")).unwrap();
    let d = "d".repeat(90);
    assert_eq!(
        all.last().unwrap().0.path,
        format!("{d}/{d}/f").into_bytes()
    );
}

#[test]
fn holes_in_every_format_of_gnu_tar() {
    // Ten segments: more than a header holds.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do \
                  printf part$i | dd of=s bs=1 seek=$((i*1048576)) conv=notrunc status=none; done; \
                  truncate -s 20M s";
    for format in [
        "--format=gnu",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax --sparse-version=1.0",
    ] {
        let bytes = gnu_tar(script, &format!("--sparse {format}"));
        assert!(bytes.len() < 1 << 20, "{format} is not sparse");
        let all = read_all(&bytes).unwrap();
        let (entry, data) = &all[0];
        let sparse = entry.sparse.as_ref().unwrap();
        assert_eq!(
            (&entry.path[..], sparse.real_size),
            (&b"s"[..], 20 << 20),
            "{format}"
        );
        let mut at = 0;
        let mut found = Vec::new();
        for (_, length) in &sparse.segments {
            found.extend_from_slice(&data[at..at + *length as usize]);
            at += *length as usize;
        }
        let text: Vec<u8> = found.into_iter().filter(|b| *b != 0).collect();
        assert_eq!(
            text, b"part1part2part3part4part5part6part7part8part9part10",
            "{format}"
        );
    }
}

#[test]
fn sizes_where_no_data_follows_are_ignored() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::hard_link());
    header.set_path("link").unwrap();
    header.set_link_name("file").unwrap();
    header.set_size(5);
    header.set_cksum();
    builder.get_mut().write_all(header.as_bytes()).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("next").unwrap();
    header.set_size(2);
    header.set_cksum();
    builder.append(&header, &b"hi"[..]).unwrap();
    let all = read_all(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(all[0].0.kind, Kind::HardLink);
    assert_eq!(
        (&all[1].0.path[..], &all[1].1[..]),
        (&b"next"[..], &b"hi"[..])
    );
}

#[test]
fn the_size_of_an_extended_header_counts_for_the_entry() {
    // A reader that took the header's zero would see the data as entries of their own.
    let mut hidden = tar::Header::new_ustar();
    hidden.set_path("hidden").unwrap();
    hidden.set_size(0);
    hidden.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([("size", &b"512"[..])])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("outer").unwrap();
    header.set_size(0);
    header.set_cksum();
    builder.get_mut().write_all(header.as_bytes()).unwrap();
    builder.get_mut().write_all(hidden.as_bytes()).unwrap();
    let all = read_all(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1, hidden.as_bytes());
}

#[test]
fn hostile_headers_are_errors() {
    let mut huge = tar::Header::new_gnu();
    huge.set_entry_type(tar::EntryType::new(b'L'));
    huge.set_size(1 << 40);
    huge.set_cksum();
    assert!(matches!(read_all(huge.as_bytes()), Err(TarError::Extended)));

    let mut owner = tar::Header::new_gnu();
    owner.set_path("f").unwrap();
    owner.set_uid(u64::from(u32::MAX));
    owner.set_size(0);
    owner.set_cksum();
    let e = read_all(owner.as_bytes()).unwrap_err();
    assert!(matches!(e, TarError::Range { field: "uid", .. }), "{e}");

    let mut cut = tar::Header::new_gnu();
    cut.set_path("f").unwrap();
    cut.set_size(u64::MAX / 2);
    cut.set_cksum();
    assert!(matches!(read_all(cut.as_bytes()), Err(TarError::Truncated)));

    let mut label = tar::Header::new_gnu();
    label.set_entry_type(tar::EntryType::new(b'V'));
    label.set_size(0);
    label.set_cksum();
    let labels = label.as_bytes().repeat(MAX_META + 1);
    assert!(matches!(read_all(&labels), Err(TarError::Extended)));
}

proptest! {
    #[test]
    fn never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..2048),
        kind in any::<u8>(),
        fix in any::<bool>(),
    ) {
        if fix && bytes.len() >= 512 {
            let mut block = [0; 512];
            block.copy_from_slice(&bytes[..512]);
            let mut header = tar::Header::from_byte_slice(&block).clone();
            header.set_entry_type(tar::EntryType::new(kind));
            header.set_size(700);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn reads_what_another_writer_wrote(
        files in prop::collection::vec(("[a-z]{1,200}", prop::collection::vec(any::<u8>(), 0..1500)), 0..5)
    ) {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, data) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(77);
            builder.append_data(&mut header, name, &data[..]).unwrap();
        }
        let all = read_all(&builder.into_inner().unwrap()).unwrap();
        prop_assert_eq!(all.len(), files.len());
        for ((entry, data), (name, expect)) in all.iter().zip(&files) {
            prop_assert_eq!(&entry.path, name.as_bytes());
            prop_assert_eq!(data, expect);
            prop_assert_eq!((entry.mode, entry.mtime), (0o644, (77, 0)));
        }
    }
}
