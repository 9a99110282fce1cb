//! Link arguments of the plugin and, when asked for, its bindings of the host's ABI.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Hosts close the library at their end, whatever still refers to it.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    #[cfg(feature = "bindgen")]
    bindings();
}

/// Writes `bindings.rs`, made from the headers in `include/`, into the build directory.
#[cfg(feature = "bindgen")]
fn bindings() {
    println!("cargo::rerun-if-changed=include");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let made = bindgen::Builder::default()
        .header("include/fluent_bit.h")
        .allowlist_file("include/.*")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_debug(false)
        .formatter(bindgen::Formatter::Prettyplease)
        .generate()
        .map_err(|error| error.to_string())
        .and_then(|bindings| {
            bindings
                .write_to_file(out.join("bindings.rs"))
                .map_err(|error| error.to_string())
        });
    if let Err(error) = made {
        println!("cargo::error=include/fluent_bit.h: {error}");
    }
}
