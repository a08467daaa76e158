//! The program: parses the command line and calls the library.

fn main() -> std::process::ExitCode {
    mailgather::cli::main()
}
