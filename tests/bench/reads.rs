//! Calls on pods that are up: lists, status, statistics, execs.

use std::time::Instant;

use super::{
    Options, Outcome,
    client::Pod,
    figures::{CONTAINER_STATS, EXEC, Kind, LIST_CONTAINERS, LIST_PODS, POD_STATS, STATUS, Sheet},
    subject::Subject,
};

/// Makes each call some times; what it gives has to be of all pods.
pub(crate) async fn measure(
    options: &Options,
    subject: &Subject,
    pods: &[Pod],
    sheet: &mut Sheet<'_>,
) -> Outcome<()> {
    let client = &subject.client;
    for _ in 0..options.calls {
        timed(LIST_PODS, pods, sheet, client.list_pods()).await?;
        timed(LIST_CONTAINERS, pods, sheet, client.list_containers()).await?;
        timed(CONTAINER_STATS, pods, sheet, client.container_stats()).await?;
        timed(POD_STATS, pods, sheet, client.pod_stats()).await?;
    }
    for pod in pods.iter().cycle().take(options.calls as usize) {
        let begun = Instant::now();
        client.status(&pod.container).await?;
        sheet.time(STATUS, begun.elapsed());
    }
    for pod in pods.iter().cycle().take(options.execs as usize) {
        let begun = Instant::now();
        client.exec(&pod.container, "/bin/true").await?;
        sheet.time(EXEC, begun.elapsed());
    }
    Ok(())
}

async fn timed(
    kind: Kind,
    pods: &[Pod],
    sheet: &mut Sheet<'_>,
    call: impl Future<Output = Outcome<usize>>,
) -> Outcome<()> {
    let begun = Instant::now();
    let found = call.await?;
    sheet.time(kind, begun.elapsed());
    if found < pods.len() {
        return Err(format!("{} told of {found}, not {}", kind.name, pods.len()).into());
    }
    Ok(())
}
