//! Who a container runs as.

use corten::cri::api::{Int64Value, SupplementalGroupsPolicy};
use serde_json::json;
use tonic::Code;

use crate::support::{Packing, busybox, image_spec, node, pod, security, shell};

fn number(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

const SHOW: &str = "id -u; id -g; id -G | tr ' ' '\\n' | sort -nu | tr '\\n' ' '; echo; echo $HOME";

#[tokio::test]
async fn users_and_groups_come_from_the_request_or_the_image() {
    node(async |node| {
        for (user, name) in [
            ("1000", "uid"),
            ("tester", "name"),
            ("www-data:50", "name-gid"),
            ("1000:video", "uid-group"),
            ("4242", "unknown"),
        ] {
            let image = busybox()
                .layer(&[], Packing::Gzip)
                .with("User", json!(user));
            node.load(&image, &format!("localhost/user:{name}")).await;
        }
        let image = |tag: &str| image_spec(&format!("localhost/user:{tag}"));
        for (what, tag, uid, username, gid, expected) in [
            ("nothing", "", None, "", None, "0 0 0 /root"),
            (
                "image uid",
                "uid",
                None,
                "",
                None,
                "1000 1000 44 50 1000 /home/tester",
            ),
            (
                "image name",
                "name",
                None,
                "",
                None,
                "1000 1000 44 50 1000 /home/tester",
            ),
            (
                "image name:gid",
                "name-gid",
                None,
                "",
                None,
                "33 50 50 /var/www",
            ),
            (
                "image uid:group",
                "uid-group",
                None,
                "",
                None,
                "1000 44 44 50 /home/tester",
            ),
            ("image unknown uid", "unknown", None, "", None, "4242 0 0 /"),
            ("uid", "name", number(33), "", None, "33 33 33 /var/www"),
            (
                "uid, gid",
                "name",
                number(33),
                "",
                number(7),
                "33 7 7 /var/www",
            ),
            ("unknown uid", "", number(4242), "", None, "4242 0 0 /"),
            (
                "name",
                "",
                None,
                "tester",
                None,
                "1000 1000 44 50 1000 /home/tester",
            ),
            (
                "name, gid",
                "",
                None,
                "tester",
                number(7),
                "1000 7 7 44 50 /home/tester",
            ),
            ("root again", "name", number(0), "", None, "0 0 0 /root"),
        ] {
            let output = node
                .prints("identity", SHOW, |main| {
                    if !tag.is_empty() {
                        main.image = Some(image(tag));
                    }
                    let context = security(main);
                    context.run_as_user = uid;
                    context.run_as_username = username.into();
                    context.run_as_group = gid;
                })
                .await;
            let words: Vec<&str> = output.split_whitespace().collect();
            assert_eq!(words.join(" "), expected, "{what}");
        }
    })
    .await;
}

#[tokio::test]
async fn supplementary_groups_follow_the_policy() {
    node(async |node| {
        for (policy, expected) in [
            (
                SupplementalGroupsPolicy::Merge,
                [44, 50, 1000, 1234].as_slice(),
            ),
            (SupplementalGroupsPolicy::Strict, [1000, 1234].as_slice()),
        ] {
            let config = pod(&format!("groups-{policy:?}"));
            let pod = node.pod(&config).await;
            let mut main = shell("main", SHOW);
            let context = security(&mut main);
            context.run_as_user = number(1000);
            context.run_as_group = number(1000);
            context.supplemental_groups = vec![1234];
            context.supplemental_groups_policy = policy as i32;
            let id = node.launch(&pod, &config, &main).await;
            let status = node.exit(&id).await;
            let output = node.output(&config, &main);
            let words: Vec<&str> = output.lines().nth(2).unwrap().split_whitespace().collect();
            let groups: Vec<i64> = words.iter().map(|word| word.parse().unwrap()).collect();
            assert_eq!(groups, expected, "{policy:?}");
            let told = status.user.unwrap().linux.unwrap();
            assert_eq!((told.uid, told.gid), (1000, 1000));
            let mut groups = told.supplemental_groups;
            groups.sort_unstable();
            assert_eq!(groups, expected, "{policy:?} as told");
            node.remove_pod(&pod).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn an_identity_that_is_none_is_refused() {
    node(async |node| {
        let config = pod("refused");
        let pod = node.pod(&config).await;
        let mut attempt = 0;
        let mut refused = async |change: &dyn Fn(&mut _), field: &str, value: &str| {
            let mut main = shell("main", "true");
            attempt += 1;
            main.metadata.as_mut().unwrap().attempt = attempt;
            change(security(&mut main));
            let error = node
                .try_create(&pod, &config, &main)
                .await
                .expect_err(&format!("{field} {value} was taken"));
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(field), "{field}: {error}");
            assert!(error.message().contains(value), "{value}: {error}");
        };
        type Context = corten::cri::api::LinuxContainerSecurityContext;
        refused(
            &|c: &mut Context| c.run_as_user = number(-1),
            "run_as_user",
            "-1",
        )
        .await;
        refused(
            &|c: &mut Context| c.run_as_user = number(1 << 32),
            "run_as_user",
            "4294967296",
        )
        .await;
        refused(
            &|c: &mut Context| c.run_as_group = number(0),
            "run_as_group",
            "",
        )
        .await;
        refused(
            &|c: &mut Context| c.run_as_username = "no-one-here".into(),
            "no-one-here",
            "",
        )
        .await;
        refused(
            &|c: &mut Context| {
                c.run_as_user = number(1);
                c.run_as_username = "tester".into();
            },
            "run_as_username",
            "tester",
        )
        .await;
        refused(
            &|c: &mut Context| c.supplemental_groups = vec![-5],
            "supplemental_groups",
            "-5",
        )
        .await;
    })
    .await;
}
