//! The registries' configuration, and the places that it leads to.
#![no_main]

use corten::image::{
    reference::{Named, Reference},
    registries::Registries,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    // A name to look up may follow the configuration, which itself can hold no such character.
    let (text, name) = input.split_once('\0').unwrap_or((input, "team/app"));
    let Ok(registries) = Registries::parse(text) else {
        return;
    };
    for name in [name, "busybox", "registry.example/team/app:v1"] {
        let Ok(named) = Named::parse(name) else {
            continue;
        };
        let candidates: Vec<Reference> = registries.candidates(&named).unwrap_or_default();
        for reference in candidates {
            if let Ok(resolution) = registries.resolve(reference) {
                for endpoint in resolution.endpoints {
                    assert!(!endpoint.host.contains('/'));
                    assert!(!endpoint.repository.starts_with('/'));
                }
            }
        }
    }
});
