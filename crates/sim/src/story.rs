//! Golden stories: being built.
