//! The crash matrix: the daemon is killed at every step of every operation that changes something, and started again.
//!
//! A first run of each operation tells which steps it reaches. Then, for each time one of them is reached, the same
//! is done once more with the daemon killed just there. What a client sees afterwards is lawful, the same request
//! sent again succeeds, and once everything is removed nothing is left that was not there before.

mod cases;
mod coverage;
mod lawful;
mod operation;
mod restarts;
mod world;

use cases::killed_at_every_step;
use operation::Operation;
use restarts::killed_at_the_start_after;

#[tokio::test]
async fn killed_at_every_step_of_run_pod_sandbox() {
    killed_at_every_step(Operation::RunPodSandbox).await;
}

#[tokio::test]
async fn killed_at_every_step_of_run_pod_sandbox_with_users() {
    killed_at_every_step(Operation::RunPodSandboxWithUsers).await;
}

#[tokio::test]
async fn killed_at_every_step_of_create_container() {
    killed_at_every_step(Operation::CreateContainer).await;
}

#[tokio::test]
async fn killed_at_every_step_of_create_container_by_an_old_runtime() {
    killed_at_every_step(Operation::CreateContainerByOldRuntime).await;
}

#[tokio::test]
async fn killed_at_every_step_of_start_container() {
    killed_at_every_step(Operation::StartContainer).await;
}

#[tokio::test]
async fn killed_at_every_step_of_stop_container() {
    killed_at_every_step(Operation::StopContainer).await;
}

#[tokio::test]
async fn killed_at_every_step_of_remove_container() {
    killed_at_every_step(Operation::RemoveContainer).await;
}

#[tokio::test]
async fn killed_at_every_step_of_stop_pod_sandbox() {
    killed_at_every_step(Operation::StopPodSandbox).await;
}

#[tokio::test]
async fn killed_at_every_step_of_remove_pod_sandbox() {
    killed_at_every_step(Operation::RemovePodSandbox).await;
}

#[tokio::test]
async fn killed_at_every_step_of_update_pod_sandbox_resources() {
    killed_at_every_step(Operation::UpdatePodSandboxResources).await;
}

#[tokio::test]
async fn killed_at_every_step_of_pull_image() {
    killed_at_every_step(Operation::PullImage).await;
}

#[tokio::test]
async fn killed_at_every_step_of_remove_image() {
    killed_at_every_step(Operation::RemoveImage).await;
}

#[tokio::test]
async fn killed_again_while_pods_are_taken_up() {
    killed_at_the_start_after(&[
        Operation::RunPodSandbox,
        Operation::StopPodSandbox,
        Operation::RemovePodSandbox,
    ])
    .await;
}

#[tokio::test]
async fn killed_again_while_containers_are_taken_up() {
    killed_at_the_start_after(&[
        Operation::CreateContainer,
        Operation::StartContainer,
        Operation::StopContainer,
        Operation::RemoveContainer,
    ])
    .await;
}

#[tokio::test]
async fn killed_again_while_images_are_taken_up() {
    killed_at_the_start_after(&[Operation::PullImage]).await;
}
