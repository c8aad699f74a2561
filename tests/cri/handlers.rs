//! OCI runtimes by name.

use tonic::Code;

use crate::support::{Options, container, node, node_with, pod};

#[tokio::test]
async fn a_handler_is_found_by_name() {
    let options = Options {
        args: vec![
            "--runtime=runc=/usr/sbin/runc".into(),
            "--runtime=second=/usr/sbin/runc".into(),
        ],
        ..Options::default()
    };
    node_with(options, async |node| {
        for handler in ["", "runc", "second"] {
            let config = pod(&format!("by-{handler}"));
            let pod = node.try_pod_by(handler, &config).await.unwrap();
            let id = node
                .launch(&pod, &config, &container("main", &["true"]))
                .await;
            assert_eq!(node.exit(&id).await.exit_code, 0);
            assert_eq!(node.pod_status(&pod).await.runtime_handler, handler);
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_handler_is_refused() {
    node(async |node| {
        let error = node
            .try_pod_by("no-such", &pod("unknown"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains("no-such"), "{error}");
        assert!(error.message().contains("runtime_handler"), "{error}");
        assert!(
            error.message().contains("runc"),
            "it should name those there are: {error}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_runtimes_own_words_reach_the_caller() {
    let options = Options {
        args: vec![
            "--runtime=runc=/usr/sbin/runc".into(),
            "--runtime=broken=/usr/sbin/runc".into(),
        ],
        ..Options::default()
    };
    node_with(options, async |node| {
        let config = pod("words");
        let pod = node.pod(&config).await;
        let error = match node
            .try_create(&pod, &config, &container("main", &["/etc"]))
            .await
        {
            Err(error) => error,
            Ok(id) => node.start_container(&id).await.unwrap_err(),
        };
        // runc names what it was to run; crun says that it could not open the executable.
        let said = ["/etc", "executable"];
        assert!(
            said.iter().any(|word| error.message().contains(word)),
            "{error}"
        );
        assert!(!error.message().contains("exit status 1\""), "{error}");
    })
    .await;
}
