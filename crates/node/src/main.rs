//! The program `replica-node`; all of it is in the library.

fn main() -> std::process::ExitCode {
    node::main()
}
