//! What a container may not do, and what a tenant's text must not bring about.

mod confinement;
mod descriptors;
mod modules;
mod seccomp;
mod tenants;
