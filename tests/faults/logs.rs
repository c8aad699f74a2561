//! A log directory that goes away.

use super::others_work;
use crate::support::{node, pod, shell, until};

#[tokio::test]
async fn a_log_directory_that_is_removed_is_made_again() {
    node(async |node| {
        let config = pod("removed");
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "i=0; while [ ! -e /end ]; do echo line $i; i=$((i+1)); sleep 0.05; done; echo last; exit 5",
        );
        let id = node.launch(&pod, &config, &main).await;
        until("it logs", async || !node.log(&config, &main).is_empty()).await;
        let log = node.log_path(&config, &main);
        std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
        // It runs on, and so does all else.
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        others_work(node, "beside").await;
        // A kubelet that rotates logs asks for the file anew.
        node.reopen_log(&id).await.unwrap();
        until("it logs again", async || {
            log.exists() && node.log(&config, &main).len() > 3
        })
        .await;
        node.exec(&id, &["touch", "/end"]).await;
        assert_eq!(node.exit(&id).await.exit_code, 5);
        assert!(node.output(&config, &main).ends_with("last\n"));
    })
    .await;
}

#[tokio::test]
async fn a_log_directory_removed_before_the_start_costs_the_log_alone() {
    node(async |node| {
        let config = pod("early");
        let pod = node.pod(&config).await;
        let main = shell("main", "echo heard; exit 2");
        let id = node.create(&pod, &config, &main).await;
        let log = node.log_path(&config, &main);
        std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
        node.start_container(&id).await.unwrap();
        assert_eq!(node.exit(&id).await.exit_code, 2);
        // The next one has its log.
        let next = shell("next", "echo heard");
        let id = node.launch(&pod, &config, &next).await;
        node.exit(&id).await;
        assert_eq!(node.output(&config, &next), "heard\n");
    })
    .await;
}

#[tokio::test]
async fn a_log_directory_that_cannot_be_made_is_named() {
    node(async |node| {
        let mut config = pod("no-directory");
        let file = node.scratch.file("logs/a-file", "");
        config.log_directory = file.join("below").to_str().unwrap().to_owned();
        let pod = node.pod(&config).await;
        let main = shell("main", "true");
        let error = node.try_create(&pod, &config, &main).await.unwrap_err();
        super::says(&error, &[config.log_directory.as_str()]);
        others_work(node, "beside").await;
    })
    .await;
}
