//! `mailgather schema`: the JSON Schema of the configuration.

use super::exit::Exit;
use super::peek::print;

/// Made from the keys of the configuration and their reference by a test, which fails when one of them changed and this did not.
const SCHEMA: &str = include_str!("../../contrib/schema/mailgather.schema.json");

pub(super) fn schema() -> Exit {
    print(SCHEMA);
    Exit::Ok
}
