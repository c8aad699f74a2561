//! Pulling an image of eight layers: whole, and when all but the top layer are there.

use std::time::{Duration, Instant};

use super::{
    Outcome,
    figures::{PULL, PULL_SHARED, Sheet},
    images::{SHARED, WHOLE},
    subject::Subject,
    weight,
};

/// How long the files of the images are being deleted, at most.
const DELETED: Duration = Duration::from_secs(3);
/// For this long ext4 does not give the inode of a deleted file to another, and looks for one that it may give.
const REUSABLE: Duration = Duration::from_secs(62);

/// Pulls both, and removes both.
pub(crate) async fn measure(name: &str, subject: &Subject, sheet: &mut Sheet<'_>) -> Outcome<()> {
    let client = &subject.client;
    let images = [format!("{name}:{WHOLE}"), format!("{name}:{SHARED}")];
    for (image, kind) in images.iter().zip([PULL, PULL_SHARED]) {
        // What was written before is not this pull's to wait for.
        rustix::fs::sync();
        let begun = Instant::now();
        client.pull(image).await?;
        sheet.time(kind, begun.elapsed());
    }
    weight::after_pulls(subject, sheet).await;
    for image in &images {
        client.remove_image(image).await?;
    }
    // Both delete behind their answer; the other's turn is not to be burdened with it.
    tokio::time::sleep(DELETED).await;
    rustix::fs::sync();
    tokio::time::sleep(REUSABLE).await;
    Ok(())
}
