//! Namespace options.

use super::{
    error::{At, FieldError},
    id_map, number,
};
use crate::{
    container::spec::Users,
    cri::api,
    pod::spec::{IdMapping, Namespaces, PidMode, Shared, UserMappings},
};

/// Namespaces of a sandbox. Without options each is the pod's, as the protocol's zero values say.
pub fn pod(at: &At<'_>, given: Option<api::NamespaceOption>) -> Result<Namespaces, FieldError> {
    let given = given.unwrap_or_default();
    let namespaces = Namespaces {
        network: shared(&at.field("network"), given.network)?,
        ipc: shared(&at.field("ipc"), given.ipc)?,
        pid: pid(at, &given)?,
        user: user(&at.field("userns_options"), given.userns_options.as_ref())?,
    };
    if matches!(namespaces.pid, PidMode::Target(_)) {
        return Err(at.field("pid").bad(
            "TARGET",
            "is for containers, a sandbox has no container yet",
        ));
    }
    if namespaces.user.is_some() {
        with_users(at, &namespaces)?;
    }
    Ok(namespaces)
}

/// What goes with a user namespace of the pod's own: its root may mount the kernel's file systems only for
/// namespaces that belong to it.
fn with_users(at: &At<'_>, namespaces: &Namespaces) -> Result<(), FieldError> {
    let refuse = |field, what: &str| {
        Err(at.field(field).bad(
            "NODE",
            format!("is not possible together with userns_options: nobody inside may mount {what}"),
        ))
    };
    match namespaces {
        Namespaces {
            pid: PidMode::Node, ..
        } => refuse("pid", "the host's /proc"),
        Namespaces {
            ipc: Shared::Node, ..
        } => refuse("ipc", "the host's message queues"),
        _ => Ok(()),
    }
}

/// Whose processes a container sees, and the user namespace it expects. Its other namespaces are the
/// sandbox's, which is why they are checked and no more.
pub fn container(
    at: &At<'_>,
    given: Option<api::NamespaceOption>,
) -> Result<(PidMode, Users), FieldError> {
    let given = given.unwrap_or_default();
    shared(&at.field("network"), given.network)?;
    shared(&at.field("ipc"), given.ipc)?;
    let options = given.userns_options.as_ref();
    let users = match user(&at.field("userns_options"), options)? {
        Some(mappings) => Users::Mapped(mappings),
        None if options.is_some() => Users::Node,
        None => Users::Pod,
    };
    Ok((pid(at, &given)?, users))
}

/// The options of a sandbox, back to the protocol.
pub fn to_api(namespaces: &Namespaces) -> api::NamespaceOption {
    let shared = |shared| match shared {
        Shared::Pod => api::NamespaceMode::Pod as i32,
        Shared::Node => api::NamespaceMode::Node as i32,
    };
    let (pid, target_id) = match &namespaces.pid {
        PidMode::Pod => (api::NamespaceMode::Pod, ""),
        PidMode::Container => (api::NamespaceMode::Container, ""),
        PidMode::Node => (api::NamespaceMode::Node, ""),
        PidMode::Target(id) => (api::NamespaceMode::Target, id.as_str()),
    };
    api::NamespaceOption {
        network: shared(namespaces.network),
        pid: pid as i32,
        ipc: shared(namespaces.ipc),
        target_id: target_id.to_owned(),
        userns_options: namespaces.user.as_ref().map(|user| api::UserNamespace {
            mode: api::NamespaceMode::Pod as i32,
            uids: id_map::to_api(&user.uids),
            gids: id_map::to_api(&user.gids),
        }),
    }
}

fn mode(at: &At<'_>, value: i32) -> Result<api::NamespaceMode, FieldError> {
    number::choice(at, value, "a namespace mode")
}

fn shared(at: &At<'_>, value: i32) -> Result<Shared, FieldError> {
    match mode(at, value)? {
        api::NamespaceMode::Pod => Ok(Shared::Pod),
        api::NamespaceMode::Node => Ok(Shared::Node),
        other => Err(at.bad(other.as_str_name(), "is not possible here: POD or NODE is")),
    }
}

fn pid(at: &At<'_>, given: &api::NamespaceOption) -> Result<PidMode, FieldError> {
    let mode = mode(&at.field("pid"), given.pid)?;
    let target = given.target_id.as_str();
    if mode == api::NamespaceMode::Target {
        crate::id::check_prefix(target).map_err(|e| at.field("target_id").wrong(e.to_string()))?;
        return Ok(PidMode::Target(target.to_owned()));
    }
    if !target.is_empty() {
        return Err(at
            .field("target_id")
            .bad(target, "is given, but pid is not TARGET"));
    }
    Ok(match mode {
        api::NamespaceMode::Container => PidMode::Container,
        api::NamespaceMode::Node => PidMode::Node,
        _ => PidMode::Pod,
    })
}

fn user(
    at: &At<'_>,
    given: Option<&api::UserNamespace>,
) -> Result<Option<UserMappings>, FieldError> {
    let Some(given) = given else { return Ok(None) };
    match mode(&at.field("mode"), given.mode)? {
        api::NamespaceMode::Node => {
            if !given.uids.is_empty() || !given.gids.is_empty() {
                return Err(at.wrong("has ID mappings, but its mode is NODE"));
            }
            Ok(None)
        }
        api::NamespaceMode::Pod => Ok(Some(UserMappings {
            uids: whole(&at.field("uids"), &given.uids)?,
            gids: whole(&at.field("gids"), &given.gids)?,
        })),
        other => Err(at
            .field("mode")
            .bad(other.as_str_name(), "is not possible here: POD or NODE is")),
    }
}

/// Mappings of a namespace: one range that begins with root, or nothing could be set up inside.
fn whole(at: &At<'_>, given: &[api::IdMapping]) -> Result<Vec<IdMapping>, FieldError> {
    if given.len() > 1 {
        return Err(at.wrong(format!(
            "has {} mappings, only a single one is supported",
            given.len()
        )));
    }
    let mappings = id_map::mappings(at, given)?;
    if !mappings.iter().any(|m| m.container_id == 0) {
        return Err(at.wrong("does not map ID 0 of the container"));
    }
    Ok(mappings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::IdMapping;
    use api::NamespaceMode as Mode;

    const AT: At<'static> = At::root("ns");

    fn option(network: Mode, pid: Mode, ipc: Mode, target: &str) -> api::NamespaceOption {
        api::NamespaceOption {
            network: network as i32,
            pid: pid as i32,
            ipc: ipc as i32,
            target_id: target.into(),
            userns_options: None,
        }
    }

    #[test]
    fn defaults_are_the_pods() {
        assert_eq!(
            pod(&AT, None),
            Ok(Namespaces {
                network: Shared::Pod,
                ipc: Shared::Pod,
                pid: PidMode::Pod,
                user: None
            })
        );
    }

    #[test]
    fn impossible_modes() {
        let error = |o| pod(&AT, Some(o)).unwrap_err().to_string();
        assert_eq!(
            error(option(Mode::Container, Mode::Pod, Mode::Pod, "")),
            "ns.network: \"CONTAINER\" is not possible here: POD or NODE is"
        );
        assert_eq!(
            error(option(Mode::Pod, Mode::Pod, Mode::Target, "")),
            "ns.ipc: \"TARGET\" is not possible here: POD or NODE is"
        );
        assert!(error(option(Mode::Pod, Mode::Target, Mode::Pod, "ab")).starts_with("ns.pid"));
        assert_eq!(
            error(option(Mode::Pod, Mode::Node, Mode::Pod, "ab")),
            "ns.target_id: \"ab\" is given, but pid is not TARGET"
        );
        let mut odd = option(Mode::Pod, Mode::Pod, Mode::Pod, "");
        odd.pid = 9;
        assert_eq!(error(odd), "ns.pid: 9 is not a namespace mode");
    }

    #[test]
    fn targets() {
        let target =
            |id: &str| container(&AT, Some(option(Mode::Pod, Mode::Target, Mode::Pod, id)));
        let wanted = (PidMode::Target("ab12".into()), Users::Pod);
        assert_eq!(target("ab12"), Ok(wanted));
        assert_eq!(
            target("").unwrap_err().to_string(),
            "ns.target_id: is empty"
        );
        assert!(target("../x").is_err());
    }

    #[test]
    fn user_namespaces() {
        let with = |mode: Mode, container_id: u32| {
            let map = vec![api::IdMapping {
                host_id: 1000,
                container_id,
                length: 10,
            }];
            let mut o = option(Mode::Pod, Mode::Container, Mode::Pod, "");
            o.userns_options = Some(api::UserNamespace {
                mode: mode as i32,
                uids: map.clone(),
                gids: map,
            });
            o
        };
        let good = pod(&AT, Some(with(Mode::Pod, 0))).unwrap();
        assert_eq!(
            good.user.as_ref().unwrap().uids,
            [IdMapping {
                host_id: 1000,
                container_id: 0,
                length: 10
            }]
        );
        assert_eq!(to_api(&good), with(Mode::Pod, 0));
        let error = |o| pod(&AT, Some(o)).unwrap_err().to_string();
        assert_eq!(
            error(with(Mode::Pod, 1)),
            "ns.userns_options.uids: does not map ID 0 of the container"
        );
        assert!(error(with(Mode::Node, 0)).contains("its mode is NODE"));
        for mode in [Mode::Container, Mode::Target] {
            let error = error(with(mode, 0));
            assert!(error.starts_with("ns.userns_options.mode"), "{error}");
            assert!(error.contains("POD or NODE"), "{error}");
        }

        let mut twice = with(Mode::Pod, 0);
        let gids = &mut twice.userns_options.as_mut().unwrap().gids;
        gids.push(api::IdMapping {
            host_id: 5000,
            container_id: 10,
            length: 10,
        });
        assert_eq!(
            error(twice),
            "ns.userns_options.gids: has 2 mappings, only a single one is supported"
        );
        let mut none = with(Mode::Pod, 0);
        none.userns_options.as_mut().unwrap().gids.clear();
        assert_eq!(
            error(none),
            "ns.userns_options.gids: does not map ID 0 of the container"
        );
        let mut long = with(Mode::Pod, 0);
        long.userns_options.as_mut().unwrap().uids[0].length = u32::MAX;
        assert!(error(long).starts_with("ns.userns_options.uids[0].host_id: 1000 leaves no room"));
        for field in ["pid", "ipc"] {
            let mut host = with(Mode::Pod, 0);
            match field {
                "pid" => host.pid = Mode::Node as i32,
                _ => host.ipc = Mode::Node as i32,
            }
            let error = error(host);
            assert!(
                error.starts_with(&format!("ns.{field}: \"NODE\"")),
                "{error}"
            );
        }
        let mut host = with(Mode::Pod, 0);
        host.network = Mode::Node as i32;
        assert!(pod(&AT, Some(host)).is_ok());
    }

    #[test]
    fn containers_say_whose_users_they_expect() {
        let users = |options: Option<api::UserNamespace>| {
            let mut o = option(Mode::Pod, Mode::Pod, Mode::Pod, "");
            o.userns_options = options;
            container(&AT, Some(o)).map(|(_, users)| users)
        };
        assert_eq!(users(None), Ok(Users::Pod));
        let of = |mode: Mode| api::UserNamespace {
            mode: mode as i32,
            ..Default::default()
        };
        assert_eq!(users(Some(of(Mode::Node))), Ok(Users::Node));
        assert!(users(Some(of(Mode::Pod))).is_err());
        let map = vec![api::IdMapping {
            host_id: 7,
            container_id: 0,
            length: 1,
        }];
        let mapped = users(Some(api::UserNamespace {
            mode: Mode::Pod as i32,
            uids: map.clone(),
            gids: map,
        }));
        assert!(matches!(mapped, Ok(Users::Mapped(m)) if m.root().is_some()));
    }
}
