//! The file in which a domain names its servers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::mail::Address;
use mailgather::proto::autoconfig::{ClientConfig, Login};

fuzz_target!(|input: &[u8]| {
    let address: Address = "anna@corp.example".parse().unwrap();
    let Ok(config) = ClientConfig::read(input) else { return };
    // What is suggested is fit to be written into a configuration.
    for server in config.best(&address) {
        assert!(server.port > 0 && !server.host.contains(|c: char| c.is_control() || c.is_whitespace()));
        if let Login::Name(name) = &server.login {
            assert!(!name.is_empty() && !name.contains(char::is_control));
        }
    }
});
