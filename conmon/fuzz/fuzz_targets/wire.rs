//! Whatever the decoder understands encodes to the very bytes it was read from.
#![no_main]

use corten_conmon::{
    config::Config,
    ctl::{Answer, Request},
    record::ExitRecord,
    wire::{self, Wire},
};
use libfuzzer_sys::fuzz_target;

fn exact<T: Wire>(bytes: &[u8]) {
    if let Ok(message) = wire::unframe::<T>(bytes) {
        assert_eq!(wire::frame(&message).as_deref(), Ok(bytes));
    }
}

fuzz_target!(|bytes: &[u8]| {
    exact::<Config>(bytes);
    exact::<Request>(bytes);
    exact::<Answer>(bytes);
    let headed = [&[0xC7, wire::VERSION], bytes].concat();
    exact::<Config>(&headed);
    exact::<Request>(&headed);
    exact::<Answer>(&headed);
    if let Ok(record) = ExitRecord::from_text(bytes) {
        assert_eq!(
            ExitRecord::from_text(record.to_text().as_bytes()),
            Ok(record)
        );
    }
});
