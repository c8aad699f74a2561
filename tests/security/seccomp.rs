//! System call filters.

use corten::cri::api::security_profile::ProfileType;
use tonic::Code;

use crate::support::{node, pod, profile, security, shell};

const MODE: &str = "grep Seccomp: /proc/self/status | cut -f2";

#[tokio::test]
async fn there_are_three_ways() {
    node(async |node| {
        let file = node.scratch.file(
            "no-mkdir.json",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
                "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#,
        );
        let file = file.to_str().unwrap();
        for (what, given, mode, made) in [
            ("none", None, "0", true),
            ("unconfined", profile(ProfileType::Unconfined, ""), "0", true),
            ("the default", profile(ProfileType::RuntimeDefault, ""), "2", true),
            ("a file", profile(ProfileType::Localhost, file), "2", false),
        ] {
            let script = format!("{MODE}; mkdir /made 2>/dev/null && echo made; true");
            let output = node
                .prints("filtered", &script, |main| security(main).seccomp = given.clone())
                .await;
            let words: Vec<&str> = output.split_whitespace().collect();
            assert_eq!(words[0], mode, "{what}");
            assert_eq!(words.contains(&"made"), made, "{what}");
        }
    })
    .await;
}

#[tokio::test]
#[expect(deprecated)]
async fn the_older_form_counts_where_the_newer_is_absent() {
    node(async |node| {
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
        let file = node.scratch.file("all.json", text);
        let file = format!("localhost/{}", file.display());
        for (older, newer, mode) in [
            ("", None, "0"),
            ("unconfined", None, "0"),
            ("runtime/default", None, "2"),
            (file.as_str(), None, "2"),
            ("runtime/default", profile(ProfileType::Unconfined, ""), "0"),
            ("unconfined", profile(ProfileType::RuntimeDefault, ""), "2"),
        ] {
            let output = node
                .prints("older", MODE, |main| {
                    security(main).seccomp_profile_path = older.into();
                    security(main).seccomp = newer.clone();
                })
                .await;
            assert_eq!(output, mode, "{older:?} {newer:?}");
        }
        let config = pod("bad");
        let pod = node.pod(&config).await;
        for value in ["elsewhere", "localhost/relative.json", "localhost/"] {
            let mut main = shell("main", "true");
            security(&mut main).seccomp_profile_path = value.into();
            let error = node.try_create(&pod, &config, &main).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains("seccomp_profile_path"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_default_keeps_new_namespaces_from_the_unprivileged() {
    node(async |node| {
        // Setting the host name needs CAP_SYS_ADMIN, and then the default filter lets it through.
        let config = pod("default");
        let mut main = shell(
            "main",
            "mount -t tmpfs tmpfs /tmp 2>/dev/null && echo mounted; echo end",
        );
        security(&mut main).seccomp = profile(ProfileType::RuntimeDefault, "");
        let (_, output) = node.run_once(&config, &main).await;
        assert_eq!(output, "end\n");
        security(&mut main).capabilities = Some(corten::cri::api::Capability {
            add_capabilities: vec!["SYS_ADMIN".into()],
            ..Default::default()
        });
        // AppArmor, where it is, has its own word on mounts.
        security(&mut main).apparmor = profile(ProfileType::Unconfined, "");
        let (_, output) = node.run_once(&pod("admin"), &main).await;
        assert_eq!(output, "mounted\nend\n");
    })
    .await;
}

#[tokio::test]
async fn privilege_lifts_the_filter() {
    node(async |node| {
        let output = node
            .prints("privileged", MODE, |main| {
                security(main).privileged = true;
                security(main).seccomp = profile(ProfileType::RuntimeDefault, "");
            })
            .await;
        assert_eq!(output, "0");
    })
    .await;
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused() {
    node(async |node| {
        let broken = node.scratch.file("broken.json", "{");
        let missing = node.scratch.join("missing.json");
        let config = pod("bad");
        let pod = node.pod(&config).await;
        for path in [
            "",
            "relative.json",
            broken.to_str().unwrap(),
            missing.to_str().unwrap(),
        ] {
            let mut main = shell("main", "true");
            security(&mut main).seccomp = profile(ProfileType::Localhost, path);
            let error = node
                .try_create(&pod, &config, &main)
                .await
                .expect_err(&format!("{path:?} was taken"));
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains("seccomp"), "{error}");
            assert!(error.message().contains(path), "{error}");
        }
    })
    .await;
}
