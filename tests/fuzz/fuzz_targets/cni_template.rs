//! Templates of network configurations.
#![no_main]

use corten::network::cni::template::{Data, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let cidrs = ["10.0.0.0/24", "fd00::/64"].map(|cidr| cidr.parse().expect("a network"));
    if let Ok(template) = Template::parse(text) {
        let _ = template.render(&Data::new(&cidrs));
    }
});
