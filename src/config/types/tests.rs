use super::*;
use proptest::prelude::*;

fn same<T: FromStr<Err = String> + ToString>(text: &str) -> String {
    text.parse::<T>()
        .map_or_else(|e| format!("! {e}"), |value| value.to_string())
}

#[test]
fn addresses() {
    assert_eq!(same::<UnixAddress>("/a/b.sock"), "unix:///a/b.sock");
    assert_eq!(same::<UnixAddress>("unix:///a/b.sock"), "unix:///a/b.sock");
    for wrong in [
        "",
        "a.sock",
        "tcp://1.2.3.4:5",
        "unix://@x",
        "unix:///",
        "/",
    ] {
        assert!(wrong.parse::<UnixAddress>().is_err(), "{wrong}");
    }
    assert!(
        format!("/{}", "x".repeat(107))
            .parse::<UnixAddress>()
            .is_err()
    );
}

#[test]
fn sizes() {
    assert_eq!("64MiB".parse(), Ok(Size::mib(64)));
    assert_eq!("64m".parse(), Ok(Size::mib(64)));
    assert_eq!("1000".parse(), Ok(Size(1000)));
    assert_eq!(Size::read(&Value::Integer(5)), Ok(Size(5)));
    for wrong in ["", "MiB", "1.5G", "-1", "9999999TiB", "5 apples"] {
        assert!(wrong.parse::<Size>().is_err(), "{wrong}");
    }
}

#[test]
fn limits_devices_and_capabilities() {
    assert_eq!(
        same::<Rlimit>("RLIMIT_NOFILE=1024:4096"),
        "nofile=1024:4096"
    );
    assert_eq!(same::<Rlimit>("core=unlimited"), "core=unlimited:unlimited");
    assert!("nofile=5:4".parse::<Rlimit>().is_err());
    assert!("files=5".parse::<Rlimit>().is_err());
    assert_eq!(same::<DeviceSpec>("/dev/fuse"), "/dev/fuse:/dev/fuse:rwm");
    assert_eq!(same::<DeviceSpec>("/dev/a:r"), "/dev/a:/dev/a:r");
    assert_eq!(same::<DeviceSpec>("/dev/a:/dev/b:rw"), "/dev/a:/dev/b:rw");
    assert!("fuse".parse::<DeviceSpec>().is_err());
    assert!("/dev/a:/dev/b:x".parse::<DeviceSpec>().is_err());
    assert_eq!(same::<Capability>("cap_kill"), "KILL");
    assert!("all of them".parse::<Capability>().is_err());
}

#[test]
fn a_word_that_is_no_level_is_refused() {
    assert!("debug".parse::<LogFilter>().is_ok());
    assert!("info,corten::network=debug".parse::<LogFilter>().is_ok());
    assert!("inof".parse::<LogFilter>().is_err());
    assert!("".parse::<LogFilter>().is_err());
}

#[test]
fn programs_are_found_in_the_search_path() {
    let sh = Program("sh".into());
    assert_eq!(
        sh.locate([Path::new("/nowhere"), Path::new("/bin")]),
        Some("/bin/sh".into())
    );
    assert_eq!(sh.locate([Path::new("/nowhere")]), None);
    assert!("bin/sh".parse::<Program>().is_err());
    assert!("..".parse::<Program>().is_err());
}

proptest! {
    #[test]
    fn sizes_come_back(bytes in 0u64..1 << 62) {
        prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
    }

    #[test]
    fn any_text_is_answered(text in ".{0,60}") {
        let _ = text.parse::<UnixAddress>();
        let _ = text.parse::<Size>();
        let _ = text.parse::<Rlimit>();
        let _ = text.parse::<DeviceSpec>();
        let _ = text.parse::<Program>();
        let _ = text.parse::<LogFilter>();
    }
}
