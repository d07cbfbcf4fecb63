//! A new file of SQL is no change that the compiler sees: the macro that embeds them reads a directory.

fn main() {
    println!("cargo:rerun-if-changed=sql");
}
