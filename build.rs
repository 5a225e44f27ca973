//! Mends one fault of librdkafka 2.12.1 in the copy that `rdkafka-sys` built, and links the mended file in its place.
//!
//! A fetch answer that names new leaders counts a partition whose leader is -1 (none yet: a broker has just gone), and
//! leaves it out where the leaders are written down, so that librdkafka reads memory that nobody set and now and then
//! crashes: <https://github.com/confluentinc/librdkafka/issues/5280>. Every outage of a broker gives such answers.
//! To be dropped when a released `rdkafka-sys` has the mending; another version of librdkafka fails here, visibly.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything by variables")]

use std::path::Path;
use std::{env, fs};

/// What is wrong, and what stands there instead.
const COUNTED: &str = "                TopicTags->partitions_with_leader_change_cnt++;\n";
const MENDED: &str = "                if (PartitionTags->CurrentLeader.LeaderId >= 0)
                        TopicTags->partitions_with_leader_change_cnt++;\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = env::var("DEP_RDKAFKA_ROOT").expect("rdkafka-sys builds librdkafka from source and says where");
    let sources = Path::new(&root).join("src");
    let source = fs::read_to_string(sources.join("rdkafka_fetcher.c")).expect("librdkafka's sources are readable");
    assert_eq!(
        source.matches(COUNTED).count(),
        1,
        "librdkafka in {root} is not the version that build.rs mends; hint: look whether librdkafka#5280 is mended \
         there, then drop or rewrite build.rs"
    );
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let mended = Path::new(&out).join("rdkafka_fetcher.c");
    fs::write(&mended, source.replace(COUNTED, MENDED)).expect("OUT_DIR can be written");

    let mut build = cc::Build::new();
    build.file(&mended).include(&sources).warnings(false);
    for flag in flags(Path::new(&root)) {
        build.flag(flag);
    }
    // The whole archive: its symbols are there before librdkafka's own archive is looked into for them.
    build.cargo_metadata(false).compile("rdkafka_mended");
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rustc-link-lib=static:+whole-archive=rdkafka_mended");
}

/// The compiler's flags of librdkafka's own build (where OpenSSL's and zstd's headers are).
fn flags(root: &Path) -> Vec<String> {
    let config = fs::read_to_string(root.join("Makefile.config")).expect("librdkafka is configured");
    let lines = config.lines().filter_map(|line| line.strip_prefix("CFLAGS+=").or(line.strip_prefix("CPPFLAGS+=")));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}
