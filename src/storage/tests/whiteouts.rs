use super::*;

fn base() -> Archive {
    Archive::new()
        .mode(0o755)
        .dir("d")
        .dir("d/sub")
        .mode(0o644)
        .file("d/one", "1")
        .file("d/two", "2")
        .file("d/sub/three", "3")
        .file("f", "low")
}

#[test]
fn hide_files_and_directories() {
    let f = Fixture::new();
    let image = f.image(vec![
        base(),
        Archive::new().file("d/.wh.one", "").file("d/.wh.sub", ""),
        Archive::new().file(".wh.f", "").file("d/one", "again"),
    ]);
    f.seen(&image, |at| {
        assert_eq!(names(at), ["d"]);
        assert_eq!(names(&at.join("d")), ["one", "two"]);
        assert_eq!(std::fs::read_to_string(at.join("d/one")).unwrap(), "again");
    });
}

#[test]
fn opaque_directories_hide_what_is_beneath_and_keep_their_own() {
    for own_first in [true, false] {
        let f = Fixture::new();
        let upper = if own_first {
            Archive::new().file("d/own", "").file("d/.wh..wh..opq", "")
        } else {
            Archive::new().file("d/.wh..wh..opq", "").file("d/own", "")
        };
        let image = f.image(vec![base(), upper]);
        f.seen(&image, |at| {
            assert_eq!(names(&at.join("d")), ["own"]);
            assert_eq!(names(at), ["d", "f"]);
        });
    }
}

#[test]
fn an_opaque_top_hides_everything() {
    let mut f = Fixture::new();
    let image = f.image(vec![
        base(),
        Archive::new().file("middle", ""),
        Archive::new().file(".wh..wh..opq", "").file("own", ""),
        Archive::new().file("last", ""),
    ]);
    f.seen(&image, |at| assert_eq!(names(at), ["last", "own"]));
    f.reopen();
    f.seen(&image, |at| assert_eq!(names(at), ["last", "own"]));
}

#[test]
fn a_whiteout_and_an_object_of_one_name_in_one_layer() {
    // Whiteouts speak of lower layers only: the object stays, and nothing beneath shows through.
    for whiteout_first in [true, false] {
        for own in ["file", "dir", "described", "link"] {
            let f = Fixture::new();
            let object = |a: Archive| match own {
                "file" => a.file("d", "own"),
                "dir" => a.file("d/own", ""),
                "described" => a.mode(0o755).dir("d").file("d/own", ""),
                _ => a.symlink("d", "f"),
            };
            let archive = if whiteout_first {
                object(Archive::new().file(".wh.d", ""))
            } else {
                object(Archive::new()).file(".wh.d", "")
            };
            let image = f.image(vec![base(), archive]);
            f.seen(&image, |at| match own {
                "file" => assert_eq!(std::fs::read_to_string(at.join("d")).unwrap(), "own"),
                "link" => assert!(at.join("d").symlink_metadata().unwrap().is_symlink()),
                _ => assert_eq!(names(&at.join("d")), ["own"], "{own} {whiteout_first}"),
            });
        }
    }
}

#[test]
fn whiteouts_of_nothing_and_old_bookkeeping_do_no_harm() {
    let f = Fixture::new();
    let image = f.image(vec![
        Archive::new().file("d/below", "").file("e/hidden", ""),
        Archive::new()
            .file("d/.wh..wh..opq", "")
            .file("d/.wh.below", "")
            .file(".wh.e", "")
            .file(".wh.nothing", "")
            .file("no/where/.wh.x", "")
            .file(".wh..wh.aufs", "")
            .file(".wh..wh.plnk/12.34", "")
            .file("f", ""),
        Archive::new().file("e/.wh.hidden", ""),
    ]);
    f.seen(&image, |at| {
        assert_eq!(names(at), ["d", "e", "f", "no"]);
        assert!(names(&at.join("d")).is_empty());
        assert!(names(&at.join("e")).is_empty());
        assert!(names(&at.join("no/where")).is_empty());
    });
}
