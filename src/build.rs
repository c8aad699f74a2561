//! Compiles the protocol definitions in `proto/` without an installed protoc.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .open_files(["runtime/v1/api.proto", "corten/v1/control.proto"])?;
    // A test compares what was compiled with what was published.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("protocol.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        // Messages that carry credentials print no field of theirs; see `cri::secret`.
        .skip_debug(["runtime.v1.AuthConfig", "corten.v1.Credentials"])
        // These are written from what is published, without a copy; see `cri::listed`.
        .extern_path(
            ".runtime.v1.ListContainersResponse",
            "crate::cri::listed::ListContainersResponse",
        )
        .extern_path(
            ".runtime.v1.ListPodSandboxResponse",
            "crate::cri::listed::ListPodSandboxResponse",
        )
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
