//! Inside the second kernel: mount the disk, start a daemon on it, check, work.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use crate::{
    check, images,
    journal::{Journal, Line},
    random::Random,
    support::{Behaviour, FakeRegistry, Options, insecure, node_with},
    work,
};

/// The directory that both sides see.
const SHARED: &str = "/tmp/work";
/// Where the disk is mounted.
const DISK: &str = "/tmp/disk";

pub(crate) fn run(seed: u64, last: bool) -> ExitCode {
    let mut random = Random::new(seed);
    let options = mount(&mut random);
    println!("seed {seed}: disk mounted with {options}");
    std::fs::write(Path::new(SHARED).join("booted"), "").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(live(seed, random, last));
    if last {
        run_to_end(&["umount", DISK]);
        run_to_end(&["e2fsck", "-fn", "/dev/ubda"]);
    }
    ExitCode::SUCCESS
}

/// Runs a program that must succeed.
fn run_to_end(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Mounts the disk, once to have its journal replayed and once to use it. The kernel may keep all that it can in
/// memory, and spares nobody who relies on its being kind.
fn mount(random: &mut Random) -> String {
    std::fs::create_dir_all(DISK).unwrap();
    run_to_end(&["mount", "-t", "ext4", "/dev/ubda", DISK]);
    run_to_end(&["umount", DISK]);
    run_to_end(&["e2fsck", "-fn", "/dev/ubda"]);
    let modes = [
        "data=ordered",
        "data=ordered,noauto_da_alloc",
        "data=writeback,noauto_da_alloc",
    ];
    let commits = ["commit=1", "commit=5", "commit=300"];
    let options = format!("{},{}", modes[random.below(3)], commits[random.below(3)]);
    run_to_end(&["mount", "-t", "ext4", "-o", &options, "/dev/ubda", DISK]);
    let pause = ["0", "100", "500"][random.below(3)];
    std::fs::write("/proc/sys/vm/dirty_writeback_centisecs", pause).unwrap();
    format!("{options}, written back every {pause} cs")
}

async fn live(seed: u64, mut random: Random, last: bool) {
    let begun = std::time::Instant::now();
    let made = images::all();
    println!("seed {seed}: images made after {:?}", begun.elapsed());
    let mut registries = Vec::new();
    for one in &made {
        registries.push(FakeRegistry::start(&one.image, Behaviour::default()).await);
    }
    let options = Options {
        root: Some(Path::new(DISK).join("root")),
        registries: registries.iter().map(|r| insecure(r.host())).collect(),
        no_network: true,
        no_image: true,
        // What a cut left is the next boot's business.
        leftovers_allowed: !last,
        ..Options::default()
    };
    let journal = Journal::open(&Path::new(SHARED).join("journal"));
    node_with(options, async |node| {
        println!("seed {seed}: the daemon serves after {:?}", begun.elapsed());
        let found = check::everything(node, &journal, &made).await;
        println!("seed {seed}: {found} after {:?}", begun.elapsed());
        journal.write(Line::Boot { seed });
        std::fs::write(Path::new(SHARED).join("ready"), found.to_string()).unwrap();
        if !last {
            if random.below(3) == 0 {
                work::tidy(node, &journal).await;
            }
            work::until_the_light_goes_out(node, &journal, &made, &registries, &mut random).await;
        }
    })
    .await;
}
