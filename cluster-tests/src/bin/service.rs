//! The service under test: all that `replica-node` is, built together with the tests.

fn main() -> std::process::ExitCode {
    node::main()
}
