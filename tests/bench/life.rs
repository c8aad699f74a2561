//! The life of pods: one after the other, and many at a time.

use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Options, Outcome,
    client::{Network, Pod, pod_config},
    figures::{
        CPU, CREATE, DOWN, GONE, HOST_GONE, HOST_READY, INSTRUCTIONS, Kind, READY, SANDBOX, START,
        Sheet, UP,
    },
    reads,
    subject::Subject,
    weight,
};

/// Pods one after the other, on a network of their own and on the host's; with all of them up, the calls that read.
pub(crate) async fn one_by_one(
    options: &Options,
    subject: &Subject,
    round: u32,
    sheet: &mut Sheet<'_>,
) -> Outcome<()> {
    // The first pod after a pause pays for what has gone cold: it is no sample.
    let first = start(options, subject, "first", Network::Host, &mut None).await?;
    subject.client.remove(&first).await?;
    if !options.host_network_only {
        let before = weight::processor_time(subject);
        let count = weight::count_instructions(subject);
        let pods = up(options, subject, round, Network::Own, sheet).await?;
        reads::measure(options, subject, &pods, sheet).await?;
        weight::memory(subject, &pods, sheet).await;
        down(subject, pods, GONE, sheet).await?;
        let each = |sum: f64| sum / f64::from(options.pods.max(1));
        if let (Some(before), Some(after)) = (before, weight::processor_time(subject)) {
            sheet.note(CPU, each(after - before));
        }
        if let Some(mut count) = count {
            sheet.note(INSTRUCTIONS, each(count.read()? / 1e6));
        }
    }
    let pods = up(options, subject, round, Network::Host, sheet).await?;
    if options.host_network_only {
        reads::measure(options, subject, &pods, sheet).await?;
        weight::memory(subject, &pods, sheet).await;
    }
    down(subject, pods, HOST_GONE, sheet).await
}

async fn up(
    options: &Options,
    subject: &Subject,
    round: u32,
    network: Network,
    sheet: &mut Sheet<'_>,
) -> Outcome<Vec<Pod>> {
    let mut pods = Vec::new();
    let mut sheet = Some(sheet);
    for n in 0..options.pods {
        let name = format!("{network:?}-{round}-{n}").to_lowercase();
        pods.push(start(options, subject, &name, network, &mut sheet).await?);
    }
    Ok(pods)
}

async fn start(
    options: &Options,
    subject: &Subject,
    name: &str,
    network: Network,
    sheet: &mut Option<&mut Sheet<'_>>,
) -> Outcome<Pod> {
    let config = pod_config(name, network, &subject.cgroup_parent);
    let client = &subject.client;
    let begun = Instant::now();
    let sandbox = client.run_pod(&config).await?;
    let running = begun.elapsed();
    let container = client.create(&sandbox, &config, &options.image).await?;
    let created = begun.elapsed();
    client.start(&container).await?;
    let ready = begun.elapsed();
    match (sheet, network) {
        (Some(sheet), Network::Own) => {
            sheet.time(SANDBOX, running);
            sheet.time(CREATE, created - running);
            sheet.time(START, ready - created);
            sheet.time(READY, ready);
        }
        (Some(sheet), Network::Host) => sheet.time(HOST_READY, ready),
        (None, _) => {}
    }
    Ok(Pod { sandbox, container })
}

async fn down(subject: &Subject, pods: Vec<Pod>, kind: Kind, sheet: &mut Sheet<'_>) -> Outcome<()> {
    for pod in pods {
        let begun = Instant::now();
        subject.client.remove(&pod).await?;
        sheet.time(kind, begun.elapsed());
    }
    Ok(())
}

/// Pods many at a time, up and down.
pub(crate) async fn many_at_once(
    options: &Options,
    subject: &Subject,
    round: u32,
    sheet: &mut Sheet<'_>,
) -> Outcome<()> {
    let network = match options.host_network_only {
        true => Network::Host,
        false => Network::Own,
    };
    let width = options.parallel.max(1) as usize;
    let per_second = |begun: Instant| f64::from(options.pods) / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let pods: Vec<Pod> = stream::iter(0..options.pods)
        .map(async |n| {
            let name = format!("many-{round}-{n}");
            start(options, subject, &name, network, &mut None).await
        })
        .buffer_unordered(width)
        .try_collect()
        .await?;
    sheet.note(UP, per_second(begun));
    let begun = Instant::now();
    stream::iter(&pods)
        .map(async |pod| subject.client.remove(pod).await)
        .buffer_unordered(width)
        .try_collect::<()>()
        .await?;
    sheet.note(DOWN, per_second(begun));
    Ok(())
}
