//! Tells the extension module where libtorch is when it is loaded: in the package `torch` beside it.

fn main() {
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../torch/lib"),
        Ok("macos") => println!("cargo:rustc-link-arg=-Wl,-rpath,@loader_path/../torch/lib"),
        _ => (),
    }
}
