//! Whatever the decoder understands encodes in its version to the very bytes it was read from.
#![no_main]

use corten_conmon::{
    config::Config,
    ctl::{Answer, Request},
    record::ExitRecord,
    wire::{self, Version, Wire},
};
use libfuzzer_sys::fuzz_target;

fn exact<T: Wire>(bytes: &[u8]) {
    if let Ok(message) = wire::unframe::<T>(bytes) {
        let version = wire::open(bytes).map(|rest| rest.version());
        assert_eq!(
            version.and_then(|version| wire::frame(version, &message)).as_deref(),
            Ok(bytes)
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    exact::<Config>(bytes);
    exact::<Request>(bytes);
    exact::<Answer>(bytes);
    for version in Version::all() {
        let headed = [&[0xC7, version.number()], bytes].concat();
        exact::<Config>(&headed);
        exact::<Request>(&headed);
        exact::<Answer>(&headed);
    }
    if let Ok(record) = ExitRecord::from_text(bytes) {
        assert_eq!(
            ExitRecord::from_text(record.to_text().as_bytes()),
            Ok(record)
        );
    }
});
