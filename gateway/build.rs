//! Makes the desk's files a part of the program, when `npm run build` has made them: gateway/workbench/dist.
//!
//! No npm from here: who builds without Node.js gets a gateway that says how to add the desk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let (workbench, dist) = (home.join("workbench"), home.join("workbench/dist"));
    let mut files = Vec::new();
    if dist.is_dir() {
        println!("cargo:rerun-if-changed={}", dist.display());
        below(&dist, &mut files);
    } else {
        // The folder's own times change when `dist` appears in it.
        println!("cargo:rerun-if-changed={}", workbench.join("package.json").display());
        println!("cargo:rerun-if-changed={}", workbench.join(".built").display());
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).expect("it is below").to_string_lossy().replace('\\', "/");
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", file.display().to_string())
            .expect("a string takes all");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write")).join("workbench.rs");
    // An unchanged file keeps its time, and nothing is compiled anew.
    if fs::read_to_string(&out).ok().as_deref() != Some(&table) {
        fs::write(&out, table).expect("cargo's folder takes files");
    }
}

/// Every file below a folder.
fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { below(&path, files) } else { files.push(path) }
    }
}
