//! Compiles the protocol definitions in `proto/` without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        ["runtime/v1/api.proto", "corten/v1/control.proto"],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        // Messages that carry credentials print no field of theirs; see `cri::secret`.
        .skip_debug(["runtime.v1.AuthConfig", "corten.v1.Credentials"])
        .compile_fds(descriptors)?;
    Ok(())
}
