//! What was asked for and what was acknowledged, written where no power cut reaches it.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path, sync::Mutex};

use serde::{Deserialize, Serialize};

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// An image is there under a name.
    Image {
        name: String,
        id: String,
    },
    /// Its removal was asked for.
    ImageGoes {
        name: String,
    },
    /// Its removal was acknowledged.
    ImageGone {
        name: String,
    },
    /// A sandbox is there.
    Pod {
        id: String,
    },
    PodGoes {
        id: String,
    },
    PodGone {
        id: String,
    },
    /// A container is there.
    Container {
        id: String,
        pod: String,
        image: String,
    },
    /// It was told to have ended with this code.
    Exited {
        id: String,
        code: i32,
    },
    ContainerGoes {
        id: String,
    },
    ContainerGone {
        id: String,
    },
    /// The machine has been started.
    Boot {
        seed: u64,
    },
}

/// How sure it is that something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It was acknowledged.
    There,
    /// Its removal was asked for: it may be there or not.
    Going,
    /// Its removal was acknowledged.
    Gone,
}

/// What is known of a container.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) presence: Presence,
    pub(crate) pod: String,
    pub(crate) code: Option<i32>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) images: BTreeMap<String, (String, Presence)>,
    pub(crate) pods: BTreeMap<String, Presence>,
    pub(crate) containers: BTreeMap<String, Known>,
    pub(crate) boots: usize,
    /// Removals of images that were asked for.
    pub(crate) removals: usize,
}

impl Model {
    fn apply(&mut self, line: Line) {
        use Presence::{Going, Gone, There};
        match line {
            Line::Image { name, id } => drop(self.images.insert(name, (id, There))),
            Line::ImageGoes { name } => {
                self.removals += 1;
                self.image(&name, Going);
            }
            Line::ImageGone { name } => self.image(&name, Gone),
            Line::Pod { id } => drop(self.pods.insert(id, There)),
            Line::PodGoes { id } => {
                for known in self.containers.values_mut().filter(|known| known.pod == id) {
                    known.presence = Going;
                }
                self.pods.insert(id, Going);
            }
            Line::PodGone { id } => {
                for known in self.containers.values_mut().filter(|known| known.pod == id) {
                    known.presence = Gone;
                }
                self.pods.insert(id, Gone);
            }
            Line::Container { id, pod, .. } => {
                let presence = self.pods.get(&pod).copied().unwrap_or(There);
                let known = Known {
                    presence,
                    pod,
                    code: None,
                };
                self.containers.insert(id, known);
            }
            Line::Exited { id, code } => {
                if let Some(known) = self.containers.get_mut(&id) {
                    known.code = Some(code);
                }
            }
            Line::ContainerGoes { id } => self.container(&id, Going),
            Line::ContainerGone { id } => self.container(&id, Gone),
            Line::Boot { .. } => self.boots += 1,
        }
    }

    fn image(&mut self, name: &str, presence: Presence) {
        if let Some(known) = self.images.get_mut(name) {
            known.1 = presence;
        }
    }

    fn container(&mut self, id: &str, presence: Presence) {
        if let Some(known) = self.containers.get_mut(id) {
            known.presence = presence;
        }
    }
}

/// The journal, open for more.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<(File, Model)>,
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut model = Model::default();
        // The last line may have been cut, and then nobody was told.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            model.apply(serde_json::from_str(line).unwrap());
        }
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        if whole.len() + 1 < text.len() {
            writeln!(file).unwrap();
        }
        Self {
            inner: Mutex::new((file, model)),
        }
    }

    /// Writes a line; on return it is outside.
    pub(crate) fn write(&self, line: Line) {
        let mut inner = self.inner.lock().unwrap();
        let text = serde_json::to_string(&line).unwrap() + "\n";
        inner.0.write_all(text.as_bytes()).unwrap();
        inner.0.sync_all().unwrap();
        inner.1.apply(line);
    }

    /// Looks something up.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.inner.lock().unwrap().1)
    }
}
