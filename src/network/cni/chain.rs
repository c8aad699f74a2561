//! Calling the plugins of a list one after another.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    args::{self, ArgsError},
    conf::{ConfList, PluginConf},
    plugin::{PluginError, Runner, Target, Verb, bad_answer},
    result::CniResult,
    version::{self, Version},
};
use crate::{
    network::{
        PodNetwork,
        native::{
            self, Native, NativeError,
            plugin::{Plugin, Way},
        },
    },
    step::{self, Step},
};

/// Name of the pod's link.
pub const INTERFACE: &str = "eth0";

/// A list of plugins that did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// One of them failed.
    #[error("network {network:?}: plugin {plugin}: {}", verb.as_str())]
    Plugin {
        /// Which network.
        network: String,
        /// Which plugin.
        plugin: String,
        /// What it was asked for.
        verb: Verb,
        /// What it said.
        #[source]
        source: PluginError,
    },
    /// One of them that is done natively was not.
    #[error("network {network:?}: {plugin}: {}", verb.as_str())]
    Native {
        /// Which network.
        network: String,
        /// Which plugin.
        plugin: String,
        /// What was asked for.
        verb: Verb,
        /// Why.
        #[source]
        source: Box<NativeError>,
    },
    /// The pod has something that plugins cannot be told.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The configuration could not be written out again.
    #[error("network {network:?}: plugin {plugin}: writing its configuration")]
    Encode {
        /// Which network.
        network: String,
        /// Which plugin.
        plugin: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A list and who does it.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// The list.
    pub conf: &'a ConfList,
    /// How each of its plugins is done.
    pub ways: &'a [Way],
    /// Who calls programs.
    pub runner: &'a Runner,
    /// Who does the others.
    pub native: &'a Native,
}

impl Chain<'_> {
    /// Attaches a pod; returns the last plugin's result, as given and as understood.
    pub async fn add(&self, pod: &PodNetwork) -> Result<(Value, CniResult), ChainError> {
        let args = args::cni_args(pod)?;
        let mut last = (Value::Null, CniResult::default());
        for (plugin, way) in self.plugins() {
            let previous = (!last.0.is_null()).then_some(&last.0);
            if let Some(native) = way {
                let call = self.native_call(plugin, native, pod, previous);
                let added = self.native.add(call).await;
                let result = added.map_err(|source| self.undone(plugin, Verb::Add, source))?;
                last = self
                    .understand(result.to_string().as_bytes())
                    .map_err(|source| self.failed(plugin, Verb::Add, source))?;
                continue;
            }
            let conf = self.encode(plugin, Some(pod), previous, None)?;
            let target = target(pod, Some(&pod.netns), &args);
            step::reached(Step::CniAddCalled);
            let output = self.call(plugin, Verb::Add, Some(target), &conf).await?;
            step::reached(Step::CniAdded);
            last = self
                .understand(&output)
                .map_err(|source| self.failed(plugin, Verb::Add, source))?;
        }
        Ok(last)
    }

    /// Detaches a pod, the last plugin first; `netns` is `None` when it is gone.
    pub async fn del(
        &self,
        pod: &PodNetwork,
        netns: Option<&Path>,
        result: Option<&Value>,
    ) -> Result<(), ChainError> {
        let args = args::cni_args(pod)?;
        let result = result.filter(|_| self.conf.version.del_takes_result());
        for (plugin, way) in self.plugins().rev() {
            if let Some(native) = way {
                let call = self.native_call(plugin, native, pod, result);
                let deleted = self.native.del(call, netns).await;
                deleted.map_err(|source| self.undone(plugin, Verb::Del, source))?;
                continue;
            }
            let conf = self.encode(plugin, Some(pod), result, None)?;
            let target = target(pod, netns, &args);
            step::reached(Step::CniDelCalled);
            self.call(plugin, Verb::Del, Some(target), &conf).await?;
            step::reached(Step::CniDeleted);
        }
        Ok(())
    }

    /// Asks whether a pod still is attached as it was. Nothing is asked where the version or the list has no CHECK.
    pub async fn check(&self, pod: &PodNetwork, result: &Value) -> Result<(), ChainError> {
        if self.conf.disable_check || !self.conf.version.has_check() {
            return Ok(());
        }
        let args = args::cni_args(pod)?;
        for (plugin, way) in self.plugins() {
            if let Some(native) = way {
                let call = self.native_call(plugin, native, pod, Some(result));
                let checked = self.native.check(call).await;
                checked.map_err(|source| self.undone(plugin, Verb::Check, source))?;
                continue;
            }
            let conf = self.encode(plugin, Some(pod), Some(result), None)?;
            let target = target(pod, Some(&pod.netns), &args);
            self.call(plugin, Verb::Check, Some(target), &conf).await?;
        }
        Ok(())
    }

    /// Asks whether pods could be attached. Nothing is asked where the version has no STATUS.
    pub async fn status(&self) -> Result<(), ChainError> {
        if !self.conf.version.has_status_and_gc() {
            return Ok(());
        }
        for (plugin, _) in self.plugins().filter(|(_, way)| way.is_none()) {
            let conf = self.encode(plugin, None, None, None)?;
            self.call(plugin, Verb::Status, None, &conf).await?;
        }
        Ok(())
    }

    /// Tells plugins which pods there are, by identifier, so that they forget all others. Each plugin is told, whether
    /// or not those before it failed; the failures are returned.
    pub async fn gc(&self, valid: &[&str]) -> Vec<ChainError> {
        let mut failures = Vec::new();
        if self.conf.disable_gc || !self.conf.version.has_status_and_gc() {
            return failures;
        }
        let ids = valid;
        let valid: Value = valid
            .iter()
            .map(|id| json!({"containerID": id, "ifname": INTERFACE}))
            .collect();
        for (plugin, way) in self.plugins() {
            if let Some(native) = way {
                let name = &self.conf.name;
                let done = self.native.gc(name, native, ids, INTERFACE).await;
                failures.extend(done.err().map(|e| self.undone(plugin, Verb::Gc, e)));
                continue;
            }
            let told = match self.encode(plugin, None, None, Some(&valid)) {
                Ok(conf) => self.call(plugin, Verb::Gc, None, &conf).await.map(drop),
                Err(e) => Err(e),
            };
            failures.extend(told.err());
        }
        failures
    }

    /// The plugins, with the native work where there is such.
    fn plugins(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&PluginConf, Option<&Plugin>)> + ExactSizeIterator {
        self.conf.plugins.iter().zip(self.ways).map(|(conf, way)| {
            let native = match way {
                Way::Native(plugin) => Some(&**plugin),
                Way::Program(_) => None,
            };
            (conf, native)
        })
    }

    fn native_call<'b>(
        &'b self,
        conf: &'b PluginConf,
        plugin: &'b Plugin,
        pod: &'b PodNetwork,
        previous: Option<&'b Value>,
    ) -> native::Call<'b> {
        native::Call {
            list: self.conf,
            conf,
            plugin,
            pod,
            previous,
        }
    }

    fn undone(&self, plugin: &PluginConf, verb: Verb, source: NativeError) -> ChainError {
        ChainError::Native {
            network: self.conf.name.clone(),
            plugin: plugin.kind.clone(),
            verb,
            source: source.into(),
        }
    }

    async fn call(
        &self,
        plugin: &PluginConf,
        verb: Verb,
        target: Option<Target<'_>>,
        conf: &[u8],
    ) -> Result<Vec<u8>, ChainError> {
        self.runner
            .call(&plugin.kind, verb, target, conf)
            .await
            .map_err(|source| self.failed(plugin, verb, source))
    }

    fn failed(&self, plugin: &PluginConf, verb: Verb, source: PluginError) -> ChainError {
        ChainError::Plugin {
            network: self.conf.name.clone(),
            plugin: plugin.kind.clone(),
            verb,
            source,
        }
    }

    /// The result of a plugin: the next one wants it as given, with a version.
    fn understand(&self, output: &[u8]) -> Result<(Value, CniResult), PluginError> {
        let result = CniResult::parse(output).map_err(|e| bad_answer(output, e))?;
        let mut value: Value = serde_json::from_slice(output).map_err(|e| bad_answer(output, e))?;
        if let Some(object) = value.as_object_mut() {
            object
                .entry("cniVersion")
                .or_insert_with(|| self.conf.version.as_str().into());
        }
        Ok((value, result))
    }

    /// What a plugin reads: its own object and what the runtime adds.
    fn encode(
        &self,
        plugin: &PluginConf,
        pod: Option<&PodNetwork>,
        previous: Option<&Value>,
        valid: Option<&Value>,
    ) -> Result<Vec<u8>, ChainError> {
        let mut object = plugin.object.clone();
        let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
        set("name", self.conf.name.as_str().into());
        set("cniVersion", self.conf.version.as_str().into());
        if let Some(previous) = previous {
            set("prevResult", previous.clone());
        }
        if let Some(valid) = valid {
            // The second name is that of an earlier text of the specification.
            set("cni.dev/valid-attachments", valid.clone());
            set("cni.dev/attachments", valid.clone());
        }
        if let Some(pod) = pod {
            let runtime = args::runtime_config(pod, plugin);
            if !runtime.is_empty() {
                set("runtimeConfig", Value::Object(runtime));
            }
        }
        serde_json::to_vec(&object).map_err(|source| ChainError::Encode {
            network: self.conf.name.clone(),
            plugin: plugin.kind.clone(),
            source,
        })
    }
}

/// The newest version that a list asks for and all its programs speak.
pub async fn settled_version(list: &ConfList, ways: &[Way], runner: &Runner) -> Version {
    let all = list.plugins.iter().zip(ways);
    let programs = all.filter(|(_, way)| matches!(way, Way::Program(_)));
    let asked = programs.map(|(plugin, _)| runner.versions(&plugin.kind));
    // A plugin that cannot tell has no say.
    let answers = futures_util::future::join_all(asked).await;
    let spoken: Vec<_> = answers.into_iter().flatten().collect();
    version::negotiate(&list.versions, &spoken).unwrap_or(list.version)
}

fn target<'a>(pod: &'a PodNetwork, netns: Option<&'a Path>, args: &'a str) -> Target<'a> {
    Target {
        id: pod.id.as_str(),
        netns,
        interface: INTERFACE,
        args,
    }
}
