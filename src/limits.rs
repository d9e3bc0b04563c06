//! Every capacity and deadline of facteur, from `config/limits.toml`, with what happens at the limit.
//!
//! A figure that bounds memory or time stands here and nowhere else: this module is the whole list. `build.rs` writes the
//! constants; the comment above each entry in the file is its documentation.

include!(concat!(env!("OUT_DIR"), "/limits.rs"));
