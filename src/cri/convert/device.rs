//! Devices.

use super::{
    error::{At, FieldError},
    text,
};
use crate::{container::spec::Device, cri::api};

/// Devices in the order given; without permissions they get all.
pub fn devices(at: &At<'_>, given: Vec<api::Device>) -> Result<Vec<Device>, FieldError> {
    given
        .into_iter()
        .enumerate()
        .map(|(i, device)| {
            let at = at.index(i);
            Ok(Device {
                container_path: text::absolute_path(
                    &at.field("container_path"),
                    &device.container_path,
                )?,
                host_path: text::absolute_path(&at.field("host_path"), &device.host_path)?,
                permissions: permissions(&at.field("permissions"), device.permissions)?,
            })
        })
        .collect()
}

fn permissions(at: &At<'_>, value: String) -> Result<String, FieldError> {
    if value.is_empty() {
        return Ok("rwm".to_owned());
    }
    let known = value.len() <= 3 && value.bytes().all(|b| b"rwm".contains(&b));
    let twice = |c: char| value.matches(c).count() > 1;
    if !known || "rwm".chars().any(twice) {
        return Err(at.bad(&value, "is not made of r, w and m, each at most once"));
    }
    Ok(value)
}

/// CDI devices by qualified name, `vendor/class=device`.
pub fn cdi(at: &At<'_>, given: Vec<api::CdiDevice>) -> Result<Vec<String>, FieldError> {
    given
        .into_iter()
        .enumerate()
        .map(|(i, device)| {
            let at = at.index(i);
            let at = at.field("name");
            let name = text::required(&at, device.name, text::NAME_MAX)?;
            if !qualified(&name) {
                return Err(at.bad(&name, "is not a device name like \"vendor.com/class=name\""));
            }
            Ok(name)
        })
        .collect()
}

fn qualified(name: &str) -> bool {
    let part = |p: &str, inner: &[u8]| {
        p.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && p.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
            && p.bytes()
                .all(|b| b.is_ascii_alphanumeric() || inner.contains(&b))
    };
    name.split_once('=')
        .and_then(|(kind, device)| kind.split_once('/').map(|(v, c)| (v, c, device)))
        .is_some_and(|(vendor, class, device)| {
            part(vendor, b"_-.") && part(class, b"_-.") && part(device, b"_-.:")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("d");

    fn permissions_of(value: &str) -> Result<String, String> {
        let device = api::Device {
            container_path: "/dev/x".into(),
            host_path: "/dev/null".into(),
            permissions: value.into(),
        };
        devices(&AT, vec![device])
            .map(|d| d[0].permissions.clone())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn permission_letters() {
        assert_eq!(permissions_of(""), Ok("rwm".into()));
        assert_eq!(permissions_of("mr"), Ok("mr".into()));
        assert_eq!(
            permissions_of("rx").unwrap_err(),
            "d[0].permissions: \"rx\" is not made of r, w and m, each at most once"
        );
        assert!(permissions_of("rr").is_err());
    }

    #[test]
    fn cdi_names() {
        let one = |name: &str| cdi(&AT, vec![api::CdiDevice { name: name.into() }]);
        assert!(one("nvidia.com/gpu=all").is_ok());
        assert!(one("vendor.com/net-class=eth0:1").is_ok());
        for bad in [
            "", "gpu", "a/b", "a=b", "/b=c", "a/=c", "a/b=", "a/../b=c", "-a/b=c",
        ] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }
}
