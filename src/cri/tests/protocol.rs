//! Guards the CRI's definitions: callers of every language were generated from the published ones.
//!
//! The expected values were obtained by putting `pkg/apis/runtime/v1/api.proto` of the Go module
//! `k8s.io/cri-api`, version v0.37.2, in the place of ours and running this test. A new version of the CRI is
//! taken over in the same way: its values first, then our definitions until they give the same.

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use sha2::{Digest, Sha256};

/// Lines in the listing: one for each service method, field, enumeration value, message and the package.
const LINES: usize = 886;
/// SHA-256 of the listing.
const DIGEST: &str = "69ab46270c942233dc8f78dc56a500f08cab8df88bae8eab63c31a2ae167655a";

#[test]
fn definitions_are_the_published_ones() {
    let compiled = include_bytes!(concat!(env!("OUT_DIR"), "/protocol.bin"));
    let set = FileDescriptorSet::decode(compiled.as_slice()).unwrap();
    let file = set
        .file
        .iter()
        .find(|f| f.package() == "runtime.v1")
        .unwrap();
    let mut listing = vec![format!(
        "package {} {} {}",
        file.package(),
        file.syntax(),
        file.options.as_ref().unwrap().go_package()
    )];
    for service in &file.service {
        for m in &service.method {
            listing.push(format!(
                "method {}.{} {}{} {}{}",
                service.name(),
                m.name(),
                if m.client_streaming() { "stream " } else { "" },
                m.input_type(),
                if m.server_streaming() { "stream " } else { "" },
                m.output_type(),
            ));
        }
    }
    for message in &file.message_type {
        list_message(&mut listing, "", message);
    }
    for enumeration in &file.enum_type {
        list_enum(&mut listing, "", enumeration);
    }
    // An option that the descriptor type used here does not know.
    let source = include_str!("../../../proto/runtime/v1/api.proto");
    let redacted = source
        .lines()
        .filter_map(|line| line.split_once("[debug_redact = true]"));
    listing.extend(redacted.map(|(field, _)| format!("redact {}", field.trim())));
    listing.sort_unstable();
    let digest: String = Sha256::digest(listing.join("\n"))
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!((listing.len(), digest.as_str()), (LINES, DIGEST));
}

fn list_message(listing: &mut Vec<String>, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}{}", message.name());
    let map = message.options.as_ref().is_some_and(|o| o.map_entry());
    listing.push(format!("message {name} map={map}"));
    for f in &message.field {
        let options = f.options.as_ref();
        listing.push(format!(
            "field {name}.{} json={} {} {:?} {:?} {} oneof={:?} deprecated={}",
            f.name(),
            f.json_name(),
            f.number(),
            f.label(),
            f.r#type(),
            f.type_name(),
            f.oneof_index,
            options.is_some_and(|o| o.deprecated()),
        ));
    }
    let outer = format!("{name}.");
    for inner in &message.nested_type {
        list_message(listing, &outer, inner);
    }
    for inner in &message.enum_type {
        list_enum(listing, &outer, inner);
    }
}

fn list_enum(listing: &mut Vec<String>, outer: &str, enumeration: &EnumDescriptorProto) {
    for value in &enumeration.value {
        listing.push(format!(
            "value {outer}{}.{} {}",
            enumeration.name(),
            value.name(),
            value.number()
        ));
    }
}
