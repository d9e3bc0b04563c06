//! (layer to come)
pub mod route;
